//! Where a relay connects to for a client, and where not.

use super::{Client, Rig};
use umbel::role::shard::ExitPolicy;
use umbel::wire::message::{EndReason, Target};

// spec: STREAM-15
#[test]
fn a_relay_that_is_no_exit_connects_nowhere() {
    let mut rig = Rig::new(None);
    let conn = rig.connect();
    let mut client = Client::new(&mut rig, conn);
    client.open(&mut rig, Target::Host("example.org".into(), 80));
    client.open(&mut rig, Target::Addr("1.2.3.4:80".parse().unwrap()));
    client.circuit.mux(0).unwrap().resolve("example.org");
    client.run(&mut rig);
    assert_eq!(client.heard, ["end NotOffered", "end NotOffered", "resolved []"]);
    assert!(rig.dialled.is_empty());
}

// spec: STREAM-16
#[test]
fn an_exit_reaches_public_addresses_and_no_mail_port() {
    let mut rig = Rig::new(Some(ExitPolicy { private: false }));
    let conn = rig.connect();
    let mut client = Client::new(&mut rig, conn);
    for bad in ["127.0.0.1:80", "10.0.0.1:80", "169.254.169.254:80", "1.2.3.4:25", "1.2.3.4:0", "[::1]:80"] {
        client.open(&mut rig, Target::Addr(bad.parse().unwrap()));
        assert_eq!(core::mem::take(&mut client.heard), [format!("end {:?}", EndReason::Policy)], "{bad}");
        client.open(
            &mut rig,
            Target::Host(
                bad.rsplit_once(':').unwrap().0.trim_matches(['[', ']']).into(),
                bad.parse::<std::net::SocketAddr>().unwrap().port(),
            ),
        );
        assert_eq!(core::mem::take(&mut client.heard), [format!("end {:?}", EndReason::Policy)], "{bad} as a name");
    }
    assert!(rig.dialled.is_empty());
    client.open(&mut rig, Target::Addr("1.2.3.4:80".parse().unwrap()));
    assert_eq!(rig.dialled.pop().map(|d| d.1), Some("1.2.3.4:80".into()));

    let mut rig = Rig::new(Some(ExitPolicy { private: true }));
    let conn = rig.connect();
    let mut client = Client::new(&mut rig, conn);
    client.open(&mut rig, Target::Addr("127.0.0.1:80".parse().unwrap()));
    assert_eq!(rig.dialled.pop().map(|d| d.1), Some("127.0.0.1:80".into()), "where the profile says so");
}
