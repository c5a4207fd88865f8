//! Pages of a history, joined, are the history: from either end, whatever happens between two pages.

use taskledger::vfs::fault::MemVfs;
use taskledger::{At, Entry, Event, HistoryFilter, HistoryPage, HistoryToken, Ledger, Prune, Seq, TaskState, View};

use super::one::calls;
use super::world::{Condition, NEVER, SUBJECTS, World, append, open};
use crate::reference::{Reference, key_of_note};
use crate::support::{Rng, in_parallel};

fn page(ledger: &Ledger, subject: &str, filter: HistoryFilter) -> taskledger::Result<HistoryPage> {
    match key_of_note(subject) {
        Some(key) => ledger.note_history_page(key, filter),
        None => ledger.history_page(subject, filter),
    }
}

fn page_of_view(view: &View, subject: &str, filter: HistoryFilter) -> taskledger::Result<HistoryPage> {
    match key_of_note(subject) {
        Some(key) => view.note_history_page(key, filter),
        None => view.history_page(subject, filter),
    }
}

/// The whole history, and how many entries were pruned.
fn whole(ledger: &Ledger, subject: &str) -> (Vec<Entry>, u64) {
    let history = match key_of_note(subject) {
        Some(key) => ledger.note_history(key),
        None => ledger.history(subject),
    };
    let history = history.expect("it can be read");
    let pruned = history.pruned();
    (history.map(|entry| entry.expect("it can be read")).collect(), pruned)
}

fn order(newest_first: bool) -> HistoryFilter {
    if newest_first { HistoryFilter::new().newest_first() } else { HistoryFilter::new() }
}

/// All pages of so many; `between` happens after each.
fn joined(
    limit: usize,
    newest_first: bool,
    ask: &mut dyn FnMut(HistoryFilter) -> HistoryPage,
    between: &mut dyn FnMut(),
) -> Vec<Entry> {
    let (mut entries, mut next) = (Vec::new(), None::<HistoryToken>);
    loop {
        let filter = order(newest_first).limit(limit);
        let page = ask(next.take().into_iter().fold(filter, HistoryFilter::after));
        assert!(page.entries.len() <= limit && (!page.entries.is_empty() || page.next.is_none()));
        entries.extend(page.entries);
        assert!(entries.len() < 10_000, "entries are shown again and again");
        next = page.next;
        if next.is_none() {
            return entries;
        }
        between();
    }
}

fn check(world: &World, condition: &Condition, rng: &mut Rng) {
    let Condition { name, ledger, .. } = condition;
    for subject in SUBJECTS.into_iter().chain(NEVER) {
        let (history, pruned) = whole(ledger, subject);
        let expected = world.model.history(subject);
        assert_eq!(history.len() + pruned as usize, expected.len(), "{name}: {subject}");
        for limit in [1, 2, 3, 1 + rng.below(20) as usize, history.len().max(1), usize::MAX] {
            for newest_first in [false, true] {
                let mut ask = |filter| {
                    let page = page(ledger, subject, filter).expect("it can be read");
                    assert_eq!((page.pruned, page.seq), (pruned, ledger.head()), "{name}: {subject}");
                    page
                };
                let mut got = joined(limit, newest_first, &mut ask, &mut || ());
                if newest_first {
                    got.reverse();
                }
                let case = format!("{name}: {subject} in pages of {limit}, newest first: {newest_first}");
                assert_eq!(got, history, "{case}");
                for (got, expected) in got.iter().zip(&expected[pruned as usize..]) {
                    assert_eq!(expected.difference(got), None, "{case}");
                }
            }
        }
    }
}

#[test]
fn pages_of_a_history_are_the_history() {
    in_parallel(&[11, 12, 13], |&seed| {
        let world = World::made(seed, 220);
        let mut rng = Rng(seed);
        world.conditions().iter().for_each(|condition| check(&world, condition, &mut rng));
    });
}

#[test]
fn what_is_appended_between_pages_shows_oldest_first() {
    for seed in 21..27 {
        let (vfs, mut rng, mut model) = (MemVfs::new(), Rng(seed), Reference::default());
        let ledger = open(&vfs);
        for _ in 0..150 {
            append(&ledger, &mut model, &mut rng, vfs_now(&vfs));
        }
        for n in 0..12 {
            let (subject, newest_first) = (SUBJECTS[n / 2 % 4], n % 2 == 0);
            let (before, _) = whole(&ledger, subject);
            let view = ledger.as_of(At::Seq(ledger.head())).unwrap();
            let limit = 1 + rng.below(5) as usize;
            let mut ask = |filter: HistoryFilter| {
                let of_view = page_of_view(&view, subject, filter.clone()).expect("it can be read");
                assert!(of_view.entries.iter().all(|entry| entry.seq <= view.seq()), "a view stays where it is");
                page(&ledger, subject, filter).expect("it can be read")
            };
            let mut more = 30;
            let mut between = || {
                if more > 0 {
                    more -= 1;
                    append(&ledger, &mut model, &mut rng, vfs_now(&vfs));
                }
            };
            let mut got = joined(limit, newest_first, &mut ask, &mut between);
            let case = format!("seed {seed}: {subject} in pages of {limit}, newest first: {newest_first}");
            if newest_first {
                got.reverse();
                assert_eq!(got, before, "{case}");
            } else {
                assert_eq!(got, whole(&ledger, subject).0, "{case}");
                assert!(got.len() > before.len(), "{case}: something was appended");
            }
        }
    }
}

fn vfs_now(vfs: &MemVfs) -> u64 {
    taskledger::vfs::ops::Vfs::now_ms(vfs)
}

fn seqs(page: &HistoryPage) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq.0).collect()
}

/// One task with so many entries, each about half a kilobyte.
fn long(ledger: &Ledger, entries: usize) {
    for n in 0..entries {
        let event = Event::observed(TaskState::Ready).error(format!("{n} ").repeat(120));
        ledger.append("long", event).unwrap();
    }
}

#[test]
fn a_token_goes_on_in_either_order_and_of_its_own_history_only() {
    let (vfs, other) = (MemVfs::new(), MemVfs::with_seed(7));
    let (ledger, other) = (open(&vfs), open(&other));
    for ledger in [&ledger, &other] {
        long(ledger, 10);
        ledger.append_note("long", Event::noted(1)).unwrap();
        ledger.append("short", Event::created()).unwrap();
    }
    let newest = || HistoryFilter::new().newest_first();
    let token = ledger.history_page("long", newest().limit(4)).unwrap().next.unwrap();
    assert_eq!(seqs(&ledger.history_page("long", newest().after(token.clone())).unwrap()), [6, 5, 4, 3, 2, 1]);
    assert_eq!(seqs(&ledger.history_page("long", HistoryFilter::new().after(token.clone())).unwrap()), [8, 9, 10]);
    let forth = ledger.history_page("long", HistoryFilter::new().limit(4)).unwrap().next.unwrap();
    assert_eq!(seqs(&ledger.history_page("long", newest().after(forth.clone())).unwrap()), [3, 2, 1]);
    // At another moment, which may be before the token.
    for (seq, back, on) in
        [(8, vec![6, 5, 4, 3, 2, 1], vec![8]), (6, vec![6, 5, 4, 3, 2, 1], vec![]), (3, vec![3, 2, 1], vec![])]
    {
        let view = ledger.as_of(At::Seq(Seq(seq))).unwrap();
        assert_eq!(seqs(&view.history_page("long", newest().after(token.clone())).unwrap()), back, "as of {seq}");
        assert_eq!(
            seqs(&view.history_page("long", HistoryFilter::new().after(token.clone())).unwrap()),
            on,
            "as of {seq}"
        );
    }
    for token in [token, forth] {
        for filter in [newest().after(token.clone()), HistoryFilter::new().after(token.clone())] {
            let refused = [
                ledger.history_page("short", filter.clone()),
                ledger.history_page("never", filter.clone()),
                ledger.note_history_page("long", filter.clone()),
                other.history_page("long", filter),
            ];
            for refused in refused {
                assert_eq!(refused.map(|page| seqs(&page)).map_err(|error| error.code()), Err("LIMIT"));
            }
        }
    }
    assert_eq!(ledger.history_page("long", HistoryFilter::new().limit(0)).unwrap().next, None);
}

#[test]
fn what_is_pruned_between_pages_is_left_out_and_counted() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    long(&ledger, 200);
    let back = ledger.history_page("long", HistoryFilter::new().newest_first().limit(199)).unwrap();
    let forth = ledger.history_page("long", HistoryFilter::new().limit(2)).unwrap();
    assert_eq!((back.pruned, forth.pruned), (0, 0));
    let oldest = ledger.prune(&Prune::before(At::Seq(Seq(150))).forced()).unwrap().oldest.0;
    assert!(oldest > 100, "{oldest}");
    let page = ledger.history_page("long", HistoryFilter::new().newest_first().after(back.next.unwrap())).unwrap();
    assert_eq!((seqs(&page), page.pruned, page.next), (vec![], oldest - 1, None));
    let page = ledger.history_page("long", HistoryFilter::new().limit(3).after(forth.next.unwrap())).unwrap();
    assert_eq!((seqs(&page), page.pruned), (vec![oldest, oldest + 1, oldest + 2], oldest - 1));
    assert!(page.next.is_some());
}

#[test]
fn a_page_costs_what_is_on_it() {
    let vfs = MemVfs::new();
    let ledger = open(&vfs);
    long(&ledger, 1_500);
    ledger.maintain().unwrap();
    for newest_first in [true, false] {
        let mut next = ledger.history_page("long", order(newest_first).limit(10)).unwrap().next;
        let mut pages = 1;
        while let Some(token) = next.take() {
            let filter = order(newest_first).limit(10).after(token);
            let (few, page) = calls(&vfs, || ledger.history_page("long", filter).unwrap());
            assert!(few < 60, "{few} calls for page {pages}, newest first: {newest_first}");
            (next, pages) = (page.next, pages + 1);
        }
        assert_eq!(pages, 150);
    }
}
