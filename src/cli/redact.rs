//! Content that is not to leave the ledger: what may be named, and entries without it. Pure.
//!
//! What is withheld reads `[redacted]` where it stood, so that one can see that something was there. What an entry clears,
//! unsets or does not have stays as it is.

use taskledger::{Entry, Event, EventKind};

use crate::cli::fact::each;

const REDACTED: &str = "[redacted]";
const REDACTED_JSON: &str = "\"[redacted]\"";

/// A field of entries whose content is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Withheld {
    Output,
    Error,
    Value,
    Reason,
    Actor,
    /// The value of this metadata key.
    Meta(String),
    /// The values of all metadata keys.
    AllMeta,
}

/// A field by its name.
pub(crate) fn withheld(text: &str) -> Result<Withheld, String> {
    Ok(match text {
        "output" => Withheld::Output,
        "error" => Withheld::Error,
        "value" => Withheld::Value,
        "reason" => Withheld::Reason,
        "actor" => Withheld::Actor,
        "meta.*" => Withheld::AllMeta,
        _ => match text.strip_prefix("meta.").filter(|key| !key.is_empty()) {
            Some(key) => Withheld::Meta(key.to_owned()),
            None => {
                return Err("there are output, error, value, reason, actor, meta.KEY and meta.* (all of it)".to_owned());
            }
        },
    })
}

/// The entry without the content of these fields.
pub(crate) fn redacted(mut entry: Entry, fields: &[Withheld]) -> Entry {
    for field in fields {
        let event = entry.event;
        entry.event = match field {
            Withheld::Output if event.output_change().set().is_some() => event.output_text(REDACTED_JSON),
            Withheld::Error if event.error_change().set().is_some() => event.error(REDACTED),
            Withheld::Value if event.kind() == EventKind::Noted => noted(&event),
            Withheld::Reason if event.reason().is_some() => event.because(REDACTED),
            Withheld::Actor if event.actor().is_some() => event.by(REDACTED),
            Withheld::Meta(key) => meta(event, |found| found == key),
            Withheld::AllMeta => meta(event, |_| true),
            _ => event,
        };
    }
    entry
}

/// The same with another value. A note has nothing else but what says who, why and through what.
fn noted(event: &Event) -> Event {
    let noted = Event::noted_text(REDACTED_JSON);
    let noted = each(noted, event.actor(), Event::by);
    let noted = each(noted, event.reason(), Event::because);
    let noted = each(noted, event.cause_seq(), Event::cause);
    each(noted, event.idempotency_key(), Event::key)
}

fn meta(event: Event, is_withheld: impl Fn(&str) -> bool) -> Event {
    let set = event.metadata().filter(|(key, value)| value.is_some() && is_withheld(key));
    let keys: Vec<String> = set.map(|(key, _)| key.to_owned()).collect();
    each(event, keys, |event, key| event.meta(key, REDACTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_as_in_an_entry() {
        for (text, field) in [
            ("output", Withheld::Output),
            ("error", Withheld::Error),
            ("value", Withheld::Value),
            ("reason", Withheld::Reason),
            ("actor", Withheld::Actor),
            ("meta.*", Withheld::AllMeta),
            ("meta.token", Withheld::Meta("token".to_owned())),
            ("meta.a.b", Withheld::Meta("a.b".to_owned())),
        ] {
            assert_eq!(withheld(text), Ok(field), "{text}");
        }
        for bad in ["", "Output", "meta", "meta.", "metadata", "key", "task", "*"] {
            assert!(withheld(bad).is_err_and(|said| said.contains("meta.KEY")), "{bad:?}");
        }
    }
}
