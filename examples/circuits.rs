//! Builds circuits through three given relays and holds them: a crowd of idle clients in one process.
//!
//! ```text
//! circuits INVITE PEERS RELAY RELAY RELAY     the network's invite, a relay's file of known relays, the path
//! ```
//!
//! Each line on standard input is a number: how many circuits are to be open. When they are, a line of JSON tells how many,
//! how many failed on the way, and how long it took. It ends with its input. `benches/compare.py` uses it.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use umbel::base::rng::Rng;
use umbel::base::time::Now;
use umbel::host::driver::{Clock, Core, Hooks};
use umbel::host::system::{self, Timer};
use umbel::proto::profile::Profile;
use umbel::proto::rpc::Service;
use umbel::role::AskId;
use umbel::role::client::{Client, ClientConfig, PathEnd, PathSource};
use umbel::role::contact::Contact;
use umbel::wire::descriptor::SignedDescriptor;
use umbel::wire::ids::RelayId;
use umbel::wire::invite::Invite;

/// Circuits under construction at once.
const AT_ONCE: usize = 32;
/// How often it is looked whether there is room for more.
const STEP: Duration = Duration::from_millis(1);

/// The one path.
struct Fixed(Vec<Contact>);

impl PathSource for Fixed {
    fn path(&mut self, _now: Now, _rng: &mut Rng, _end: PathEnd) -> Option<Vec<Contact>> {
        Some(self.0.clone())
    }

    fn contact(&self, relay: &RelayId) -> Option<Contact> {
        self.0.iter().find(|c| c.id == *relay).cloned()
    }

    fn first_hop(&mut self, _now: Now, _relay: &RelayId, _works: bool) {}

    fn may_follow(&self, _path: &[RelayId], _relay: &RelayId) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        true
    }
}

/// A client that asks nobody anything.
struct Quiet;

impl Hooks<Client> for Quiet {
    fn ask(&self, _core: &Rc<Core<Client>>, _ask: AskId, _service: Service, _body: Vec<u8>) {}

    fn after(&self, _core: &Rc<Core<Client>>) {}
}

fn contacts(peers: &str, path: &[String], profile: &Profile, invite: &Invite) -> Result<Vec<Contact>, Box<dyn Error>> {
    let rules = profile.descriptor_rules(invite.network());
    let mut known = Vec::new();
    for line in std::fs::read_to_string(peers)?.lines() {
        let record = data_encoding::BASE64.decode(line.as_bytes())?;
        known.push(Contact::from(&SignedDescriptor::decode(&record, &rules)?));
    }
    let named = |id: &String| known.iter().find(|c| c.id.to_string() == *id).cloned().ok_or("a relay is not known");
    Ok(path.iter().map(named).collect::<Result<_, _>>()?)
}

/// Lines read before their turn; who writes more waits.
const LINES_AHEAD: usize = 16;

async fn hold(core: Rc<Core<Client>>) -> Result<(), Box<dyn Error>> {
    let (lines, mut inbox) = mpsc::channel(LINES_AHEAD);
    let read = move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| lines.blocking_send(line));
    std::thread::spawn(read);
    while let Some(line) = inbox.recv().await {
        let (target, timer) = (line.trim().parse::<usize>()?, Timer::start());
        loop {
            let (built, failed) = core.peek(|client| client.builds());
            let open = usize::try_from(built)?;
            if open >= target {
                let ms = timer.elapsed_ms();
                println!("{{\"open\":{open},\"failed\":{failed},\"ms\":{ms}}}");
                std::io::stdout().flush()?;
                break;
            }
            core.with(|client, now| client.set_spare_circuits(now, target.min(open + AT_ONCE)));
            tokio::time::sleep(STEP).await;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [invite, peers, path @ ..] = arguments.as_slice() else { return Err("INVITE PEERS RELAY...".into()) };
    let invite = Invite::parse(&std::fs::read_to_string(invite)?)?;
    let profile = Profile::named(&invite.profile).ok_or("no such profile")?;
    let path = contacts(peers, path, profile, &invite)?;
    let config = ClientConfig {
        network: invite.network(),
        profile,
        spare_circuits: 0,
        wants_exits: false,
        circuits_max: usize::MAX,
        is_relay: false,
    };
    let rng = system::rng().map_err(|e| e.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        hold(Core::start(Client::new(config, Box::new(Fixed(path)), rng), Clock::start(), Box::new(Quiet))).await
    })
}
