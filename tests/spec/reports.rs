//! Runs the vectors of page 16: reports and endpoints.

use crate::case::{cases, unknown};
use umbel::base::time::UnixMs;
use umbel::proto::profile::Profile;
use umbel::wire::descriptor::{DescriptorRules, SignedDescriptor};
use umbel::wire::ids::{NetworkId, RelayId};
use umbel::wire::report::{Report, ReportEntry, endpoint};

#[test]
fn reports() {
    for case in cases("reports") {
        match case.kind.as_str() {
            "report" => {
                let bytes = case.bytes("report");
                let identity = case.array("identity");
                match Report::decode(&bytes).and_then(|r| r.verify(&identity).map(|()| r)) {
                    Err(why) => case.expect(&format!("{why:?}")),
                    Ok(report) => {
                        case.expect("ok");
                        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
                        let entry = |e: &[u8; 17]| ReportEntry {
                            subject: number(&e[..8]),
                            endpoint: number(&e[8..16]),
                            addresses: e[16],
                        };
                        let entries = case.bytes("entries");
                        let expected = Report {
                            cut: UnixMs(case.number("cut")),
                            set: number(&case.bytes("set")),
                            auditor: RelayId(case.array("auditor")),
                            members: case.bytes("members"),
                            entries: entries.as_chunks::<17>().0.iter().map(entry).collect(),
                            signature: report.signature,
                        };
                        assert_eq!(report, expected, "{}", case.name);
                        assert_eq!(report.encode(), bytes, "{}", case.name);
                    }
                }
            }
            "endpoint" => {
                case.expect("ok");
                let work = umbel::crypto::work::WorkParams { effort: 0, ..Profile::TESTING.work };
                let network = NetworkId(core::array::from_fn(|i| i as u8 + 1));
                let rules =
                    DescriptorRules { network, work, private_addrs: true, lifetime_max_s: 60, members_of: None };
                let record = SignedDescriptor::decode(&case.bytes("descriptor"), &rules).unwrap();
                assert_eq!(endpoint(&record).to_be_bytes(), case.array("endpoint"), "{}", case.name);
            }
            _ => unknown(&case),
        }
    }
}
