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
    reason = "a fault in a target is a failed test"
)]
#![expect(
    clippy::float_cmp,
    clippy::format_push_string,
    clippy::match_same_arms,
    clippy::needless_pass_by_value,
    clippy::option_option,
    clippy::ptr_arg,
    clippy::struct_excessive_bools,
    reason = "generated inputs have the shapes that their generator needs"
)]

mod audit;
mod breaker;
mod config;
mod connection;
mod desk;
mod era;
mod house;
mod http;
mod json;
mod link;
mod mcp;
mod mirror;
mod resume;
mod safety;
mod session;
mod sim;
mod store;
mod traffic;
mod websocket;
mod wire;

/// How long a target is tried where `BOLERO_RANDOM_TEST_TIME_MS` does not say otherwise: long enough for a gross fault.
#[cfg(test)]
const BLINK: std::time::Duration = std::time::Duration::from_millis(500);

/// Makes a test of each target, and a table of them for the engine that is guided by coverage.
macro_rules! targets {
    ($($short:literal $name:ident: $input:ty => $holds:path,)+) => {
        $(
            #[test]
            fn $name() {
                bolero::check!().with_type::<$input>().with_test_time(BLINK).for_each(|input| $holds(input));
            }
        )+

        /// Tries one input that is made of these bytes.
        #[cfg(not(test))]
        pub(crate) fn try_by_name(name: &str, bytes: &[u8]) {
            let options = bolero::driver::Options::default();
            let mut driver = bolero::driver::ByteSliceDriver::new(bytes, &options);
            match name {
                $($short => {
                    if let Some(input) = bolero::TypeGenerator::generate(&mut driver) {
                        $holds(&input);
                    }
                })+
                _ => panic!("there is no target {name}"),
            }
        }
    };
}

targets! {
    "from_core" a_bent_frame_is_read_or_refused_and_what_was_read_is_written_back_the_same: json::Bent<json::FromCore> => wire::from_core_holds,
    "to_core" a_bent_request_is_read_or_refused_and_what_was_read_is_written_back_the_same: json::Bent<json::ToCore> => wire::to_core_holds,
    "poll" a_poll_reads_as_a_stream_as_it_reads_in_one_piece: json::Bent<json::Polls> => wire::poll_holds,
    "config" a_configuration_is_accepted_within_its_bounds_or_every_fault_has_a_key: config::File => config::holds,
    "breaker" a_breaker_opens_rests_and_closes_as_it_says_whatever_happens: breaker::Case => breaker::holds,
    "session" a_session_answers_every_caller_once_and_sends_no_write_twice: session::Case => session::holds,
    "mirror" a_mirror_has_the_last_value_of_each_control_and_never_more_than_fits: Vec<mirror::Op> => mirror::holds,
    "sim" a_simulated_core_answers_what_it_can_read_and_writes_nothing_but_frames: Vec<sim::Step> => sim::holds,
    "mcp" a_posted_body_gets_an_answer_of_the_protocol_and_no_rule_is_broken: Vec<mcp::Request> => mcp::holds,
    "connection" what_goes_out_of_a_connection_are_messages_and_it_ends: Vec<connection::Op> => connection::holds,
    "http" bytes_on_a_connection_get_http_and_the_connection_ends: http::Connection => http::holds,
    "store" a_damaged_store_opens_tells_nothing_untrue_and_takes_writes_again: Vec<store::Damage> => store::holds,
    "safety" a_write_that_passes_breaks_no_rule: safety::Rules => safety::holds,
    "era" who_carries_a_message_and_who_answers_it_take_it_for_the_same: era::Case => era::holds,
    "resume" a_broken_stream_goes_on_where_it_is_taken_up_again: resume::Case => resume::holds,
    "traffic" what_clients_make_the_server_hold_is_bounded_and_given_back: Vec<traffic::Op> => traffic::holds,
    "websocket" frames_get_frames_and_nothing_is_left_of_a_socket: websocket::Client => websocket::holds,
    "audit" a_changed_audit_trail_is_seen_and_goes_on: Vec<audit::Damage> => audit::holds,
    "link" a_link_recovers_from_whatever_cable_and_core_do: Vec<link::Op> => link::holds,
}
