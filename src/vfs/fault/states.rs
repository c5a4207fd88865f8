//! Goes through the states that a power cut may leave: all of them where they are few, a chosen part else.
//!
//! Invariants:
//! - The same point of the same trace with the same limits gives the same states in the same order.
//! - No state is visited twice. (Two files that changed places with the same bytes count as two states.)
//! - What a choice says about a part that cannot be seen (behind the end, in a file without a name) is 0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::SECTOR;
use super::crash::{Choice, Pending, PendingSector, Torn, WORD, newest};
use super::disk::{Entry, FileId, Names};
use super::mem::MemVfs;
use super::random::SplitMix;

/// How many states are visited at one point of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All states are visited where there are at most 2 to the power of this many, not counting torn ones. With
    /// one version each, that is as many undecided sectors, lengths and names.
    pub exhaustive: u32,
    /// Above that, pairs of undecided parts are tried where there are at most this many parts.
    pub pairs: usize,
    /// Above that, so many random states are tried besides.
    pub samples: usize,
    /// Each undecided sector is also torn at each word, with all others old and all others new.
    pub tear: bool,
    /// Where the random states start from.
    pub seed: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { exhaustive: 14, pairs: 128, samples: 4096, tear: true, seed: 0 }
    }
}

/// A sector that can be seen, by its place in [`Pending::sectors`], and the versions that look different.
type Axis = (usize, Vec<u32>);

impl Pending {
    /// Visits states that a power cut at this point may leave, and says how many there were.
    ///
    /// Up to the limit of [`Limits::exhaustive`] these are all of them, each once. Above it: none kept, all kept,
    /// each part and each pair of parts kept alone or lost alone, and random ones.
    pub fn states(&self, limits: &Limits, visit: &mut dyn FnMut(MemVfs, &Choice)) -> u64 {
        let mut visitor = Visitor { pending: self, visit, count: 0 };
        match self.exhaustible(limits) {
            Some(name_sets) => visitor.all(&name_sets),
            None => visitor.some(limits),
        }
        if limits.tear {
            visitor.torn();
        }
        visitor.count
    }

    /// The sets of names, where all states together are within the limit.
    fn exhaustible(&self, limits: &Limits) -> Option<Vec<(Vec<bool>, Arc<Names>)>> {
        let most = 1u64.checked_shl(limits.exhaustive).unwrap_or(u64::MAX);
        let name_sets = self.name_sets(usize::try_from(most).unwrap_or(usize::MAX))?;
        let mut files: BTreeSet<FileId> = self.sectors.iter().map(|sector| sector.file).collect();
        files.extend(self.lens.iter().map(|len| len.file));
        let states: BTreeMap<FileId, u64> = files.into_iter().map(|file| (file, self.states_of(file, most))).collect();
        let total = name_sets.iter().fold(0u64, |total, (_, names)| {
            let here = named(names)
                .iter()
                .fold(1u64, |product, file| product.saturating_mul(states.get(file).copied().unwrap_or(1)));
            total.saturating_add(here)
        });
        (total <= most).then_some(name_sets)
    }

    /// How many states one file can have; anything above `most` where there are more.
    fn states_of(&self, file: FileId, most: u64) -> u64 {
        let mut total = 0u64;
        for len in self.lens_of(file).into_iter().rev() {
            let sectors = self.sectors.iter().filter(|sector| sector.file == file);
            let mut product = 1u64;
            for sector in sectors {
                let versions = self.different(sector.visible(len), sector);
                product = product.saturating_mul(versions.len() as u64);
                if product > most {
                    return product;
                }
            }
            total = total.saturating_add(product);
            if total > most {
                break;
            }
        }
        total
    }

    fn lens_of(&self, file: FileId) -> Vec<u64> {
        let newer = self.lens.iter().filter(|len| len.file == file);
        let newer = newer.flat_map(|len| len.newer.iter().copied());
        std::iter::once(self.durable_len(file)).chain(newer).collect()
    }

    /// The versions of a sector that differ in their first `visible` bytes, the durable one first.
    fn different(&self, visible: usize, sector: &PendingSector) -> Vec<u32> {
        let count = newest(sector.newer.len());
        if visible >= SECTOR {
            return (0..=count).collect();
        }
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut versions = Vec::new();
        for version in 0..=count {
            let bytes = sector.version(version).and_then(|bytes| bytes.get(..visible));
            let bytes = bytes.unwrap_or_default();
            if !seen.contains(&bytes) {
                seen.push(bytes);
                versions.push(version);
            }
        }
        versions
    }

    /// The sectors that can be seen and differ, where these files are named and have these lengths.
    fn axes(&self, files: &BTreeSet<FileId>, lens: &[u32]) -> Vec<Axis> {
        let mut axes = Vec::new();
        let mut current = None;
        for (at, sector) in self.sectors.iter().enumerate() {
            if !files.contains(&sector.file) {
                continue;
            }
            let len = match current {
                Some((file, len)) if file == sector.file => len,
                _ => self.len_of(sector.file, lens),
            };
            current = Some((sector.file, len));
            let versions = self.different(sector.visible(len), sector);
            if versions.len() > 1 {
                axes.push((at, versions));
            }
        }
        axes
    }
}

/// The files that have a name.
fn named(names: &Names) -> BTreeSet<FileId> {
    let files = names.values().filter_map(|entry| match entry {
        Entry::File(file) => Some(*file),
        Entry::Dir | Entry::Other => None,
    });
    files.collect()
}

/// Calls `visit` with every combination of one index below each of `sizes`, the first index changing fastest.
fn combinations(sizes: &[usize], visit: &mut dyn FnMut(&[usize])) {
    let mut indexes = vec![0; sizes.len()];
    loop {
        visit(&indexes);
        let mut carry = true;
        for (index, size) in indexes.iter_mut().zip(sizes) {
            *index += 1;
            if *index < *size {
                carry = false;
                break;
            }
            *index = 0;
        }
        if carry {
            return;
        }
    }
}

struct Visitor<'a> {
    pending: &'a Pending,
    visit: &'a mut dyn FnMut(MemVfs, &Choice),
    count: u64,
}

impl Visitor<'_> {
    fn emit(&mut self, names: &Arc<Names>, choice: &Choice) {
        if let Some(image) = self.pending.image_with(names, choice) {
            self.count += 1;
            (self.visit)(image, choice);
        }
    }

    /// Every state: for each set of names, each length of the named files, each version of the sectors then seen.
    fn all(&mut self, name_sets: &[(Vec<bool>, Arc<Names>)]) {
        let pending = self.pending;
        let mut choice = pending.none_kept();
        for (kept, names) in name_sets {
            choice.names.clone_from(kept);
            let files = named(names);
            let sizes: Vec<usize> = pending
                .lens
                .iter()
                .map(|len| match files.contains(&len.file) {
                    true => len.newer.len() + 1,
                    false => 1,
                })
                .collect();
            combinations(&sizes, &mut |lens| {
                for (len, index) in choice.lens.iter_mut().zip(lens) {
                    *len = newest(*index);
                }
                let axes = pending.axes(&files, &choice.lens);
                let sizes: Vec<usize> = axes.iter().map(|(_, versions)| versions.len()).collect();
                choice.sectors.fill(0);
                combinations(&sizes, &mut |indexes| {
                    for ((at, versions), index) in axes.iter().zip(indexes) {
                        set(&mut choice.sectors, *at, versions.get(*index).copied());
                    }
                    self.emit(names, &choice);
                });
            });
        }
    }

    /// The chosen part of the states, where there are too many.
    fn some(&mut self, limits: &Limits) {
        let pending = self.pending;
        let mut seen = Seen::default();
        let none = pending.none_kept();
        let all = pending.all_kept();

        // Names and lengths as before or as after everything, and the sectors that can then be seen.
        for context in self.contexts() {
            let Some(axes) = self.axes_in(&context) else {
                continue;
            };
            let mut new = context.clone();
            for (at, versions) in &axes {
                set(&mut new.sectors, *at, versions.last().copied());
            }
            self.try_choice(&mut seen, &context);
            self.try_choice(&mut seen, &new);
            for (at, versions) in &axes {
                for version in versions {
                    let mut choice = context.clone();
                    set(&mut choice.sectors, *at, Some(*version));
                    self.try_choice(&mut seen, &choice);
                    let mut choice = new.clone();
                    set(&mut choice.sectors, *at, Some(*version));
                    self.try_choice(&mut seen, &choice);
                }
            }
            if axes.len() > limits.pairs {
                continue;
            }
            for (first, (one, one_versions)) in axes.iter().enumerate() {
                for (other, other_versions) in axes.iter().skip(first + 1) {
                    let mut choice = context.clone();
                    set(&mut choice.sectors, *one, one_versions.last().copied());
                    set(&mut choice.sectors, *other, other_versions.last().copied());
                    self.try_choice(&mut seen, &choice);
                    let mut choice = new.clone();
                    set(&mut choice.sectors, *one, Some(0));
                    set(&mut choice.sectors, *other, Some(0));
                    self.try_choice(&mut seen, &choice);
                }
            }
        }

        // One or two names or lengths that differ from all the others.
        let parts = pending.names.len() + pending.lens.len();
        for first in 0..parts {
            let last = if parts <= limits.pairs { parts } else { first + 1 };
            for second in first..last {
                let mut choice = none.clone();
                choice.sectors.clone_from(&all.sectors);
                self.exchange(&mut choice, &all, first);
                self.exchange(&mut choice, &all, second);
                self.try_choice(&mut seen, &choice);
                let mut choice = all.clone();
                self.exchange(&mut choice, &none, first);
                self.exchange(&mut choice, &none, second);
                self.try_choice(&mut seen, &choice);
            }
        }

        let mut random = SplitMix::new(limits.seed ^ pending.at as u64);
        for _ in 0..limits.samples {
            let choice = self.random_choice(&mut random);
            self.try_choice(&mut seen, &choice);
        }
    }

    /// The states with one torn sector.
    fn torn(&mut self) {
        for context in self.contexts() {
            let Some(names) = self.pending.kept_names(&context.names) else {
                continue;
            };
            let axes = self.pending.axes(&named(&names), &context.lens);
            let mut new = context.clone();
            for (at, versions) in &axes {
                set(&mut new.sectors, *at, versions.last().copied());
            }
            let others: &[&Choice] = if axes.len() > 1 { &[&context, &new] } else { &[&context] };
            for (at, versions) in &axes {
                for torn in self.tears(*at, versions, &context.lens) {
                    for others in others {
                        let mut choice = (*others).clone();
                        set(&mut choice.sectors, *at, Some(0));
                        choice.torn = Some(torn);
                        self.emit(&names, &choice);
                    }
                }
            }
        }
    }

    /// Tears between each version and the durable one, and each and the one before it, whichever is in front.
    /// Those that look like another tear of the two, or like one of them, are left out.
    fn tears(&self, at: usize, versions: &[u32], lens: &[u32]) -> Vec<Torn> {
        let mut tears = Vec::new();
        let Some(sector) = self.pending.sectors.get(at) else {
            return tears;
        };
        let visible = sector.visible(self.pending.len_of(sector.file, lens));
        let seen = |version| sector.version(version).and_then(|bytes| bytes.get(..visible));
        let mut contents: BTreeSet<Vec<u8>> =
            versions.iter().filter_map(|version| seen(*version).map(<[u8]>::to_vec)).collect();
        for (place, newer) in versions.iter().enumerate().skip(1) {
            let before = place.checked_sub(1).and_then(|place| versions.get(place));
            let mut older: Vec<u32> = std::iter::once(0).chain(before.copied()).collect();
            older.dedup();
            for older in older {
                for (front, back) in [(*newer, older), (older, *newer)] {
                    for words in 1..SECTOR / WORD {
                        let torn = Torn { sector: at, words, front, back };
                        let bytes = sector.torn(&torn);
                        let bytes = bytes.as_ref().and_then(|bytes| bytes.get(..visible));
                        if bytes.is_some_and(|bytes| contents.insert(bytes.to_vec())) {
                            tears.push(torn);
                        }
                    }
                }
            }
        }
        tears
    }

    /// Names and lengths all old, and all new; the sectors old. One only, where they look the same.
    fn contexts(&self) -> Vec<Choice> {
        let pending = self.pending;
        let old = pending.none_kept();
        let mut new = pending.all_kept();
        new.sectors.fill(0);
        let (Some(old_names), Some(new_names)) = (pending.kept_names(&old.names), pending.kept_names(&new.names))
        else {
            return vec![old];
        };
        if old_names == new_names {
            new.names.clone_from(&old.names);
        }
        let files = named(&new_names);
        for (version, len) in new.lens.iter_mut().zip(&pending.lens) {
            if !files.contains(&len.file) {
                *version = 0;
            }
        }
        if old == new { vec![old] } else { vec![old, new] }
    }

    fn axes_in(&self, choice: &Choice) -> Option<Vec<Axis>> {
        let names = self.pending.kept_names(&choice.names)?;
        Some(self.pending.axes(&named(&names), &choice.lens))
    }

    /// Takes one name or length of `choice` from `other`; they count as one list.
    fn exchange(&self, choice: &mut Choice, other: &Choice, part: usize) {
        match part.checked_sub(self.pending.names.len()) {
            None => set(&mut choice.names, part, other.names.get(part).copied()),
            Some(part) => set(&mut choice.lens, part, other.lens.get(part).copied()),
        }
    }

    /// A possible choice: each name, length and sector at random, more of them new in some than in others.
    fn random_choice(&self, random: &mut SplitMix) -> Choice {
        let pending = self.pending;
        let mut choice = pending.none_kept();
        // A power cut in the middle of a write leaves half of it; one right before or after it, nearly all or none.
        let new_in_8 = 1 + random.below(7);
        let mut names = Names::clone(&pending.kept_names(&choice.names).unwrap_or_default());
        for (kept, op) in choice.names.iter_mut().zip(&pending.names) {
            *kept = random.below(8) < new_in_8 && op.apply(&mut names);
        }
        for (version, len) in choice.lens.iter_mut().zip(&pending.lens) {
            if random.below(8) < new_in_8 {
                *version = newest(len.newer.len()) - random.below(len.newer.len() as u64) as u32;
            }
        }
        for (version, sector) in choice.sectors.iter_mut().zip(&pending.sectors) {
            if random.below(8) < new_in_8 {
                *version = newest(sector.newer.len()) - random.below(sector.newer.len() as u64) as u32;
            }
        }
        choice
    }

    /// Visits the state where it is possible and was not visited yet.
    fn try_choice(&mut self, seen: &mut Seen, choice: &Choice) {
        let pending = self.pending;
        let Some(names) = pending.kept_names(&choice.names) else {
            return;
        };
        let files = named(&names);
        let mut shown = pending.none_kept();
        // The first choice that made these names stands for all that do.
        let first = seen.names.entry(Arc::clone(&names));
        shown.names.clone_from(first.or_insert_with(|| choice.names.clone()));
        for ((shown, len), version) in shown.lens.iter_mut().zip(&pending.lens).zip(&choice.lens) {
            if files.contains(&len.file) {
                *shown = *version;
            }
        }
        for (at, versions) in pending.axes(&files, &shown.lens) {
            let (Some(sector), Some(wanted)) = (pending.sectors.get(at), choice.sectors.get(at)) else {
                continue;
            };
            let visible = sector.visible(pending.len_of(sector.file, &shown.lens));
            let look = |version| sector.version(version).and_then(|bytes| bytes.get(..visible));
            let same = versions.iter().find(|version| look(**version) == look(*wanted));
            set(&mut shown.sectors, at, same.copied());
        }
        if seen.choices.insert(shown.clone()) {
            self.emit(&names, &shown);
        }
    }
}

/// What was visited already, where states are chosen and not counted through.
#[derive(Default)]
struct Seen {
    names: BTreeMap<Arc<Names>, Vec<bool>>,
    choices: BTreeSet<Choice>,
}

/// Puts `value` at `at`, where both are there.
fn set<T>(list: &mut [T], at: usize, value: Option<T>) {
    if let (Some(slot), Some(value)) = (list.get_mut(at), value) {
        *slot = value;
    }
}
