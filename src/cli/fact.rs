//! Facts as typed or read: the words for events, states and expectations.

use taskledger::{Event, Expect, TaskState};

/// What happened, as typed after the task of `append`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    Created,
    Updated,
    Removed,
    Requeued(TaskState),
    /// It moved to this state, or was observed in it.
    To(TaskState),
}

/// An event: `created`, `updated`, `removed`, `requeued` (to pending), `requeued:STATE`, or the state moved to.
pub(crate) fn happened(text: &str) -> Result<Happened, String> {
    Ok(match text {
        "created" => Happened::Created,
        "updated" => Happened::Updated,
        "removed" => Happened::Removed,
        "requeued" | "requeued:pending" => Happened::Requeued(TaskState::Pending),
        "requeued:ready" => Happened::Requeued(TaskState::Ready),
        _ if text.starts_with("requeued:") => return Err("a task is requeued to pending or ready".to_owned()),
        _ => Happened::To(TaskState::from_name(text).ok_or_else(|| {
            let names = state_names();
            format!("no such event; there are created, updated, requeued[:ready], removed, and the states {names}")
        })?),
    })
}

/// An expectation: `absent`, `exists`, `version:N`, `attempt:N` or `state:A,B`.
pub(crate) fn expectation(text: &str) -> Result<Expect, String> {
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| format!("{digits:?} is no whole number"));
    match text.split_once(':') {
        None if text == "absent" => Ok(Expect::Absent),
        None if text == "exists" => Ok(Expect::Exists),
        Some(("version", version)) => number(version).map(Expect::Version),
        Some(("attempt", attempt)) => {
            u32::try_from(number(attempt)?).map(Expect::Attempt).map_err(|_| format!("attempt {attempt} is too large"))
        }
        Some(("state", states)) => states.split(',').map(state).collect::<Result<_, _>>().map(Expect::StateIn),
        _ => Err("no such expectation; there are absent, exists, version:N, attempt:N, state:A,B".to_owned()),
    }
}

/// A metadata key and its value: `KEY=VALUE`. The value may have further `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is needed")?;
    if key.is_empty() { Err("the key is empty".to_owned()) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// A state by its name.
pub(crate) fn state(text: &str) -> Result<TaskState, String> {
    TaskState::from_name(text).ok_or_else(|| format!("no such state; there are {}", state_names()))
}

/// The names of all states, for messages.
pub(crate) fn state_names() -> String {
    TaskState::ALL.map(TaskState::name).join(", ")
}

/// The event, changed by each of the values.
pub(crate) fn each<T>(event: Event, values: impl IntoIterator<Item = T>, change: impl Fn(Event, T) -> Event) -> Event {
    values.into_iter().fold(event, change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_word_and_a_requeue_may_name_its_target() {
        for (text, expected) in [
            ("created", Happened::Created),
            ("updated", Happened::Updated),
            ("removed", Happened::Removed),
            ("requeued", Happened::Requeued(TaskState::Pending)),
            ("requeued:pending", Happened::Requeued(TaskState::Pending)),
            ("requeued:ready", Happened::Requeued(TaskState::Ready)),
        ] {
            assert_eq!(happened(text), Ok(expected), "{text}");
        }
        for state in TaskState::ALL {
            assert_eq!(happened(state.name()), Ok(Happened::To(state)));
        }
        for bad in ["", "Created", "transitioned", "observed", "requeued:", "requeued:running", "removed:ready"] {
            assert!(happened(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_expectation_has_five_forms() {
        for (text, expected) in [
            ("absent", Expect::Absent),
            ("exists", Expect::Exists),
            ("version:0", Expect::Version(0)),
            ("version:18446744073709551615", Expect::Version(u64::MAX)),
            ("attempt:3", Expect::Attempt(3)),
            ("state:running", Expect::state_in(&[TaskState::Running])),
            ("state:ready,retrying", Expect::state_in(&[TaskState::Ready, TaskState::Retrying])),
        ] {
            assert_eq!(expectation(text), Ok(expected), "{text}");
        }
        let bad =
            ["", "any", "absent:", "version", "version:", "version:-1", "attempt:4294967296", "state:", "state:a"];
        for bad in bad {
            assert!(expectation(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pair_is_cut_at_the_first_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
