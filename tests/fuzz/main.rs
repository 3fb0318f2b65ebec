//! Fuzz targets: what comes from outside, and operations in any order, against what must always hold.
//!
//! An input is never plain random bytes, which do not get past the first brace: it is a frame of a real conversation that was cut,
//! bent and spliced, or a list of operations. `cargo nextest run` tries each target for a blink, `tests/fuzz/run SECONDS` for as long
//! as wanted, and `tests/fuzz/cargo-fuzz` guided by coverage. A failure prints its input made as small as possible, and the seed that
//! repeats it: `BOLERO_RANDOM_SEED=… cargo test --test fuzz NAME`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a fault in a target is a failed test, and the count of inputs is printed for the script that runs them"
)]

mod config;
mod json;
mod link;
mod mirror;
mod safety;
mod wire;

/// How long a target is tried where `BOLERO_RANDOM_TEST_TIME_MS` does not say otherwise: long enough for a gross fault.
#[cfg(test)]
const BLINK: std::time::Duration = std::time::Duration::from_millis(500);

/// Makes a test of each target, and a table of them for the engine that is guided by coverage.
macro_rules! targets {
    ($($name:ident: $input:ty => $holds:path,)+) => {
        $(
            #[test]
            fn $name() {
                let mut tried = 0_u64;
                bolero::check!().with_type::<$input>().with_test_time(BLINK).for_each(|input| {
                    tried += 1;
                    $holds(input);
                });
                println!("{tried} inputs: {}", stringify!($name));
                assert!(tried > 0, "no input was tried");
            }
        )+
    };
}

targets! {
    a_bent_frame_is_read_or_refused_and_what_was_read_is_written_back_the_same: json::Bent<json::FromCore> => wire::from_core_holds,
    a_bent_request_is_read_or_refused_and_what_was_read_is_written_back_the_same: json::Bent<json::ToCore> => wire::to_core_holds,
    a_poll_reads_as_a_stream_as_it_reads_in_one_piece: json::Bent<json::Polls> => wire::poll_holds,
    a_configuration_is_accepted_within_its_bounds_or_every_fault_has_a_key: config::File => config::holds,
    a_mirror_has_the_last_value_of_each_control_and_never_more_than_fits: Vec<mirror::Op> => mirror::holds,
    a_link_recovers_from_whatever_cable_and_core_do: Vec<link::Op> => link::holds,
    a_write_that_passes_breaks_no_rule: safety::Rules => safety::holds,
}
