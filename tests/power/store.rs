//! The two halves of the test of power cuts that need the real store: one works until it is told to end, while its writes are
//! recorded, and one starts from what a cut has left.
//!
//! ```text
//! power write FOLDER FIRST TURNS   works in FOLDER/data for that many turns and notes in FOLDER/told what it has begun and kept
//! power check                      reads folders, one a line, and says for each in one line of JSON what a start there came to
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that meets a surprise has to fail loudly, and its runner reads what it prints"
)]

mod check;
mod work;

use std::io::BufRead as _;
use std::path::Path;

/// The one Core.
const CORE: &str = "hall";

/// Its one component, and how many controls that has.
const COMPONENT: &str = "Mix";
const CONTROLS: u32 = 600;

/// The text of a control in a turn: of another length each time, so that records do not fall on the same bytes.
fn text(control: u32, turn: u32) -> String {
    let length = (control * 31 + turn * 17) % 200;
    format!("{turn} dB{}", ".".repeat(usize::try_from(length).unwrap()))
}

/// The part of `run` that every half needs: time that stands still unless all wait, so that the intervals of a box cost none.
fn paused<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["write", folder, first, turns] => {
            let (first, turns) = (first.parse().unwrap(), turns.parse().unwrap());
            paused(work::work(Path::new(folder), first, turns));
        }
        ["check"] => {
            for folder in std::io::stdin().lock().lines() {
                println!("{}", check::check(Path::new(&folder.unwrap())));
            }
        }
        _ => panic!("power write FOLDER FIRST TURNS, or power check"),
    }
}
