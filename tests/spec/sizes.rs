//! Numbers in the specification are the code's, and no file grows into the one that nobody reads.

use crate::pages::{files, pages, tables};
use umbel::{crypto, node, proto, role, wire};

/// Lines of a file, its tests included. The lint `too_many_lines` counts those of a function.
const LINES_MAX: usize = 500;

/// Those of page 16, and of its calls on page 10.
fn of_admission(name: &str) -> Option<u64> {
    let n = match name {
        "CANDIDATES_MAX" => proto::directory::ranks::CANDIDATES_MAX,
        "AUDITORS" => proto::directory::draw::AUDITORS,
        "MATURE" => proto::directory::admission::MATURE,
        "PROBATION_MAX" => proto::directory::admission::PROBATION_MAX,
        "REPORT_ENTRIES_MAX" => wire::report::REPORT_ENTRIES_MAX,
        "REPORT_BITS_MAX" => wire::report::REPORT_BITS_MAX,
        "REPORT_MAX" => wire::report::REPORT_MAX,
        "CANDIDATE_DIALS_MAX" => proto::directory::audit::CANDIDATE_DIALS_MAX,
        "INVITED_DIALS_MAX" => proto::directory::audit::INVITED_DIALS_MAX as usize,
        "REPORTS_MAX" => wire::directory::REPORTS_MAX,
        "HELD_MAX" => wire::directory::HELD_MAX,
        _ => return None,
    };
    Some(n as u64)
}

fn in_code(name: &str) -> Option<u64> {
    let n = match name {
        "TAG_SIZE" => crypto::aead::TAG_SIZE,
        "KEM_PUBLIC_SIZE" => crypto::agree::KEM_PUBLIC_SIZE,
        "KEM_CIPHERTEXT_SIZE" => crypto::agree::KEM_CIPHERTEXT_SIZE,
        "KEM_KEYGEN_SEED" => crypto::agree::KEM_KEYGEN_SEED,
        "KEM_ENCAPS_SEED" => crypto::agree::KEM_ENCAPS_SEED,
        "CELL_SIZE" => wire::cell::CELL_SIZE,
        "HEADER_SIZE" => wire::cell::HEADER_SIZE,
        "BODY_SIZE" => wire::cell::BODY_SIZE,
        "AUTHENTICATE_DESCRIPTOR_MAX" => wire::cell::AUTHENTICATE_DESCRIPTOR_MAX,
        "MESSAGE_1_SIZE" => wire::link::MESSAGE_1_SIZE,
        "MESSAGE_2_SIZE" => wire::link::MESSAGE_2_SIZE,
        "PAYLOAD_1_SIZE" => wire::link::PAYLOAD_1_SIZE,
        "PAYLOAD_2_SIZE" => wire::link::PAYLOAD_2_SIZE,
        "RECORD_CELLS_MAX" => wire::link::RECORD_CELLS_MAX,
        "RECORD_SIZE_MAX" => wire::link::RECORD_SIZE_MAX,
        "RECORDS_PER_KEY" => proto::link::RECORDS_PER_KEY as usize,
        "MARK_SIZE" => wire::message::MARK_SIZE,
        "MESSAGE_HEADER_SIZE" => wire::message::MESSAGE_HEADER_SIZE,
        "RESOLVED_MAX" => wire::message::RESOLVED_MAX,
        "REQUEST_SIZE" => wire::handshake::REQUEST_SIZE,
        "REPLY_SIZE" => wire::handshake::REPLY_SIZE,
        "KIND_HYBRID" => usize::from(wire::handshake::KIND_HYBRID),
        "POSITION_MAX" => usize::from(wire::handshake::POSITION_MAX),
        "ACK_EVERY" => proto::stream::flow::ACK_EVERY as usize,
        "STREAMS_MAX" => proto::stream::mux::STREAMS_MAX,
        "CONTROL_MAX" => proto::stream::mux::CONTROL_MAX,
        "CLOSED_MAX" => proto::stream::mux::CLOSED_MAX,
        "RELAY_CREDIT_FIRST" => proto::stream::mux::RELAY_CREDIT_FIRST as usize,
        "STREAM_WINDOW_MAX" => proto::stream::mux::STREAM_WINDOW_MAX as usize,
        "CREDIT_MAX" => proto::stream::mux::CREDIT_MAX as usize,
        "BODY_MAX" => proto::rpc::BODY_MAX,
        "CALLS_OUTSTANDING_MAX" => proto::stream::call::CALLS_OUTSTANDING_MAX,
        "DESCRIPTOR_MAX" => wire::descriptor::DESCRIPTOR_MAX,
        "ADDRS_MAX" => wire::descriptor::ADDRS_MAX,
        "LINKS_MAX" => role::limits::LINKS_MAX,
        "DIRECT_CIRCUITS_MAX" => role::limits::DIRECT_CIRCUITS_MAX,
        "LINKS_RESERVED" => role::limits::LINKS_RESERVED,
        "CIRCUITS_PER_LINK_MAX" => role::limits::CIRCUITS_PER_LINK_MAX,
        "CIRCUITS_MAX" => role::limits::CIRCUITS_MAX,
        "CELLS_QUEUED_MAX" => role::limits::CELLS_QUEUED_MAX,
        "CLIENT_CIRCUITS_MAX" => role::limits::CLIENT_CIRCUITS_MAX,
        "CLIENT_STREAMS_MAX" => role::limits::CLIENT_STREAMS_MAX,
        "GUARDS_KEPT" => proto::path::guards::GUARDS_KEPT,
        "GUARDS_MAX" => proto::path::guards::GUARDS_MAX,
        _ => return at_relays(name),
    };
    Some(n as u64)
}

/// The value of a constant of pages 10 and 17, of what relays do, in the code.
fn at_relays(name: &str) -> Option<u64> {
    let n = match name {
        "RECORDS_MAX" => wire::directory::RECORDS_MAX,
        "PAGE_MEMBERS_MAX" => wire::directory::PAGE_MEMBERS_MAX,
        "TAGS_MAX" => wire::directory::TAGS_MAX,
        "SUMS_ASKED_MAX" => wire::directory::SUMS_ASKED_MAX,
        "SUMS_MAX" => proto::directory::sketch::SUMS_MAX,
        "RELAYS_MAX" => proto::directory::snapshot::RELAYS_MAX,
        "RELAYS_MIN" => proto::directory::snapshot::RELAYS_MIN,
        "CLIMBING_MAX" => wire::directory::climbing::CLIMBING_MAX,
        "RUNGS_MAX" => wire::directory::climbing::RUNGS_MAX,
        "STATEMENTS_MAX" => wire::directory::STATEMENTS_MAX,
        "LATE_MAX" => proto::directory::ladder::LATE_MAX,
        "LATE_STRANGERS_MAX" => proto::directory::ladder::LATE_STRANGERS_MAX,
        "ROUNDS_MAX" => proto::directory::schedule::ROUNDS_MAX,
        "CUTS_KEPT" => proto::directory::cuts::CUTS_KEPT,
        "CUSTODY_LEAST" => proto::directory::rendezvous::CUSTODY_LEAST,
        "RING_STEPS_MAX" => proto::directory::rendezvous::RING_STEPS_MAX,
        "PUSH_PEERS" => proto::directory::peers::PUSH_PEERS,
        _ => return of_invites(name),
    };
    Some(n as u64)
}

fn of_invites(name: &str) -> Option<u64> {
    let n = match name {
        "FOUNDERS_MAX" => wire::membership::FOUNDERS_MAX,
        "ROLL_REVOKED_MAX" => wire::roll::ROLL_REVOKED_MAX,
        "ROLL_MAX" => wire::roll::ROLL_MAX,
        "INVITE_RELAYS" => proto::path::seeds::INVITE_RELAYS,
        "INVITE_RELAYS_MAX" => wire::invite::INVITE_RELAYS_MAX,
        "INVITE_MAX" => wire::invite::INVITE_MAX,
        _ => return in_the_proxy(name),
    };
    Some(n as u64)
}

fn in_the_proxy(name: &str) -> Option<u64> {
    let n = match name {
        "HEAD_MAX" => node::proxy::codec::http::HEAD_MAX,
        "ANSWER_HEAD_MAX" => node::proxy::codec::http::ANSWER_HEAD_MAX,
        "ANSWER_FIELDS_MAX" => node::proxy::codec::http::ANSWER_FIELDS_MAX,
        "FIELDS_MAX" => node::proxy::codec::http::FIELDS_MAX,
        "MESSAGE_MAX" => node::proxy::codec::socks::MESSAGE_MAX,
        "CONNECTIONS_MAX" => node::proxy::CONNECTIONS_MAX,
        _ => return of_a_client(name),
    };
    Some(n as u64)
}

/// The value of a constant of page 12 in the code.
fn of_a_client(name: &str) -> Option<u64> {
    let n: usize = match name {
        "CLIENT_CIRCUITS_MAX" => role::limits::CLIENT_CIRCUITS_MAX,
        "EXIT_CIRCUITS_MAX" => role::limits::EXIT_CIRCUITS_MAX,
        "USER_CIRCUITS_MAX" => role::limits::USER_CIRCUITS_MAX,
        "SITE_CIRCUITS_MAX" => role::limits::SITE_CIRCUITS_MAX,
        "CIRCUITS_PER_USER" => role::limits::CIRCUITS_PER_USER.into(),
        "EXITS_PER_USER" => role::limits::EXITS_PER_USER,
        "CALL_STREAMS_RESERVED" => role::limits::CALL_STREAMS_RESERVED,
        "STREAM_TRIES_MAX" => role::limits::STREAM_TRIES_MAX.into(),
        "CLIENT_STREAMS_MAX" => role::limits::CLIENT_STREAMS_MAX,
        "GUARDS_KEPT" => proto::path::guards::GUARDS_KEPT,
        "GUARDS_MAX" => proto::path::GUARDS_MAX,
        "GUARDS_USED_MAX" => proto::path::guards::GUARDS_USED_MAX,
        "LAST_HOP_TRIES" => role::limits::LAST_HOP_TRIES.into(),
        _ => return of_a_client_s_directory(name),
    };
    Some(n as u64)
}

/// The value of a constant of page 10, *At a client*, in the code.
fn of_a_client_s_directory(name: &str) -> Option<u64> {
    let n: usize = match name {
        "CHANGES_MAX" => wire::changes::CHANGES_MAX,
        "CHANGES_PART_MAX" => wire::changes::CHANGES_PART_MAX,
        "WITNESSED_MAX" => wire::directory::WITNESSED_MAX,
        "SIGNERS_PER_WITNESS" => proto::directory::client_sync::SIGNERS_PER_WITNESS,
        "SIGNERS_ESCALATED" => proto::directory::vote::SIGNERS_ESCALATED,
        "SIGNER_TRIES" => usize::from(proto::directory::vote::SIGNER_TRIES),
        "MEMBERS_MAX" => proto::directory::snapshot::MEMBERS_MAX,
        _ => return of_admission(name),
    };
    Some(n as u64)
}

#[test]
fn constants_in_the_specification_are_those_of_the_code() {
    let mut compared = 0;
    for page in pages() {
        for row in tables(&page, "constants").into_iter().flatten() {
            let [name, value, ..] = &row[..] else { panic!("{}: a row needs a name and a value: {row:?}", page.path) };
            if name == "name" {
                continue;
            }
            let code = in_code(name).unwrap_or_else(|| panic!("{}: name {name} in tests/spec/sizes.rs", page.path));
            assert_eq!(value.parse(), Ok(code), "{}: {name}", page.path);
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} constants were found: did a marker change?");
}

#[test]
fn layer_sizes_in_the_specification_are_those_of_the_code() {
    let page = pages().into_iter().find(|p| p.path.ends_with("06-onion.md")).expect("the page on onions");
    for position in 1..=wire::handshake::POSITION_MAX {
        let covered = proto::onion::covered(position);
        let row = format!("| {position} | {covered} | {covered} | {} |", covered - wire::message::MARK_SIZE);
        assert!(page.text.contains(&row), "spec/06-onion.md needs the row {row}");
    }
}

/// Every label under which something is derived or signed stands in the table of spec 02, so that no two can meet.
#[test]
fn labels_in_the_code_are_those_of_the_specification() {
    let page = pages().into_iter().find(|p| p.path.ends_with("02-keys.md")).expect("the page on keys");
    let mut labels = 0;
    for file in files("src/crypto", ".rs") {
        let code = file.text.split("mod tests").next().unwrap_or_default();
        for label in code.split('"').skip(1).step_by(2).filter(|l| l.starts_with("umbel ")) {
            let whole = page.text.contains(&format!("`{label}`"));
            let suffix = label.strip_prefix("umbel circuit 1").is_some_and(|l| page.text.contains(&format!("`{l}`")));
            assert!(whole || suffix, "{}: spec/02-keys.md does not list the label {label}", file.path);
            labels += 1;
        }
    }
    assert!(labels > 15, "only {labels} labels were found");
}

#[test]
fn files_stay_short_enough_to_be_read() {
    let mut found = Vec::new();
    for file in ["src", "tests", "benches", "examples", "fuzz"].into_iter().flat_map(|dir| files(dir, ".rs")) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{} has {lines} lines: split it", file.path));
        }
    }
    for page in pages() {
        if page.text.lines().count() > 400 {
            found.push(format!("{} is longer than 400 lines", page.path));
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}
