//! Starts and ends: threads, files, folders, and what is under way when a node goes.

use crate::network;
use crate::web::Web;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use umbel::{Client, Content, Error, ErrorKind, Event, Invite, Testnet};

/// Threads of this process with this name.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter(|t| std::fs::read_to_string(t.path().join("comm")).is_ok_and(|c| c.trim() == name)).count()
}

/// Open files of this process below a folder.
fn open_files(dir: &Path) -> usize {
    let dir = dir.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|f| std::fs::read_link(f.path()).is_ok_and(|to| to.starts_with(&dir))).count()
}

async fn client(dir: &Path, invite: &Invite) -> Result<Client, Error> {
    Client::builder(dir).invite(invite.clone()).patience(Duration::from_secs(20)).start().await
}

/// An invite to a network that is gone.
async fn dead() -> Invite {
    let net = Testnet::start(4).await.unwrap();
    let invite = net.invite().clone();
    net.shutdown().await;
    invite
}

#[tokio::test]
async fn nodes_end_with_their_last_handle_and_close_their_files() {
    // The counts are the whole process's: this test is the only one that names its threads' folder.
    let (net, web) = (network().await, Web::start());
    let dir = tempfile::tempdir().unwrap();
    let one = client(dir.path(), net.invite()).await.unwrap();
    one.ready().await.unwrap();
    assert!(open_files(dir.path()) > 0, "the lock");
    let two = one.isolated();
    let stream = one.connect(("127.0.0.1", web.port())).await.unwrap();
    drop(one);
    assert_eq!(two.status().await.unwrap().profile, "testing", "a handle is left");
    drop(two);
    assert!(open_files(dir.path()) > 0, "a stream is a handle");
    drop(stream);
    assert_eq!(open_files(dir.path()), 0);
    // Whoever comes next finds the folder free.
    let again = client(dir.path(), net.invite()).await.unwrap();
    again.shutdown().await;
    assert_eq!(open_files(dir.path()), 0);
    assert_eq!(again.status().await.unwrap_err().kind(), ErrorKind::NotRunning);
}

#[tokio::test]
async fn a_client_starts_with_the_directory_of_its_last_run() {
    let (net, dir) = (Testnet::start(4).await.unwrap(), tempfile::tempdir().unwrap());
    let invite = net.invite().clone();
    let first = client(dir.path(), &invite).await.unwrap();
    first.ready().await.unwrap();
    let verified = first.status().await.unwrap().directory.unwrap();
    assert!(verified.signers > 0, "checked with others");
    first.shutdown().await;
    net.shutdown().await;
    // Nobody is left who could hand one out.
    let second = client(dir.path(), &invite).await.unwrap();
    let kept = second.status().await.unwrap().directory.expect("from its folder");
    assert_eq!((kept.relays, kept.signers), (verified.relays, 0), "nobody confirmed it in this run");
    second.shutdown().await;
    // What does not verify is not there.
    let file = dir.path().join("directory");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let third = client(dir.path(), &invite).await.unwrap();
    assert_eq!(third.status().await.unwrap().directory, None);
    third.shutdown().await;
}

#[tokio::test]
async fn a_process_of_its_own_has_as_many_threads_and_files_after_as_before() {
    const NAME: &str = "a_process_of_its_own_has_as_many_threads_and_files_after_as_before";
    if std::env::var_os("UMBEL_COUNTS").is_none() {
        let me = std::env::current_exe().unwrap();
        let filter = format!("lifetime::{NAME}");
        let mut child = std::process::Command::new(me);
        child.args(["--exact", &filter, "--test-threads", "1"]).env("UMBEL_COUNTS", "1");
        assert!(child.status().unwrap().success());
        return;
    }
    let count = |of: &str| std::fs::read_dir(of).unwrap().count();
    let all = || (count("/proc/self/fd"), threads("umbel-client"), threads("umbel-relay"), threads("shard-0"));
    let before = all();
    let net = Testnet::start(4).await.unwrap();
    net.client().ready().await.unwrap();
    net.client().put(Content::reader("x", &b"x"[..])).await.unwrap();
    assert_eq!((threads("umbel-client"), threads("umbel-relay"), threads("shard-0")), (1, 4, 4));
    drop(net);
    assert_eq!(all(), before);
}

#[tokio::test]
async fn guards_survive_a_restart_that_names_no_network() {
    let (net, web) = (Testnet::builder().relays(8).exit(true).start().await.unwrap(), Web::start());
    let dir = tempfile::tempdir().unwrap();
    let guard = async |client: &Client| {
        let stream = client.connect(("127.0.0.1", web.port())).await.unwrap();
        stream.receipt().hops[0]
    };
    let first = client(dir.path(), net.invite()).await.unwrap();
    let before = guard(&first).await;
    first.shutdown().await;
    for _ in 0..3 {
        let again = Client::builder(dir.path()).start().await.unwrap();
        assert_eq!(guard(&again).await, before);
        again.shutdown().await;
    }
}

#[tokio::test]
async fn several_clients_in_one_process_and_one_in_a_folder() {
    let net = network().await;
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut clients = Vec::new();
    for dir in &dirs {
        clients.push(client(dir.path(), net.invite()).await.unwrap());
    }
    for client in &clients {
        client.ready().await.unwrap();
    }
    let second = client(dirs[0].path(), net.invite()).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::DirInUse);
    assert!(second.to_string().contains(&std::process::id().to_string()) && second.hint().is_some(), "{second}");
    let nothing = Client::builder(tempfile::tempdir().unwrap()).start().await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Config);
}

// spec: CLIENT-29
#[tokio::test]
async fn a_dead_network_is_an_error_and_not_a_wait() {
    let (invite, dir) = (dead().await, tempfile::tempdir().unwrap());
    let client = Client::builder(dir.path()).invite(invite).patience(Duration::from_secs(1)).start().await.unwrap();
    let mut events = client.events();
    let tried = tokio::time::timeout(Duration::from_secs(20), async {
        let connect = client.connect(("example.com", 80)).await.unwrap_err();
        let put = client.put(Content::reader("x", &b"x"[..])).await.unwrap_err();
        (connect.kind(), put.kind())
    });
    assert_eq!(tried.await.unwrap(), (ErrorKind::NoPath, ErrorKind::NoPath));
    let status = client.status().await.unwrap();
    let on_the_way = &status.bootstrap;
    assert!(!status.ready && on_the_way.percent < 50 && on_the_way.reason.contains("relay"), "{on_the_way:?}");
    assert!(!on_the_way.next.is_empty(), "{on_the_way:?}");
    client.shutdown().await;
    while let Some(event) = events.next().await {
        assert!(
            !matches!(event, Event::Bootstrap(umbel::Bootstrap { percent: 100, .. }) | Event::CircuitBuilt(_)),
            "{event:?}"
        );
    }
}

// spec: CLIENT-29
#[tokio::test]
async fn events_tell_the_way_to_the_first_circuit() {
    let (net, dir) = (network().await, tempfile::tempdir().unwrap());
    let client = client(dir.path(), net.invite()).await.unwrap();
    let (mut events, mut seen) = (client.events(), Vec::new());
    loop {
        let event = events.next().await.unwrap();
        let done = matches!(event, Event::Bootstrap(umbel::Bootstrap { percent: 100, .. }));
        seen.push(event);
        if done {
            break;
        }
    }
    assert!(seen.iter().any(|e| matches!(e, Event::Directory(5, _))), "{seen:?}");
    assert!(seen.iter().any(|e| matches!(e, Event::CircuitBuilt(_))), "{seen:?}");
    let percents: Vec<_> =
        seen.iter().filter_map(|e| if let Event::Bootstrap(b) = e { Some(b.percent) } else { None }).collect();
    assert!(percents.len() > 1 && percents[0] < 50, "{seen:?}");
    let status = client.status().await.unwrap();
    assert!(status.ready && status.bootstrap.percent == 100 && status.bootstrap.next.is_empty());
    let directory = status.directory.unwrap();
    assert_eq!(directory.vouched, Some(5), "each relay of its invite");
    assert!(directory.signers * 5 > directory.drawn * 3 && directory.drawn == 5, "{directory:?}");
    assert!(status.problems.is_empty(), "{:?}", status.problems);
}

#[tokio::test]
async fn a_stream_whose_node_ends_breaks_and_does_not_end() {
    let (net, web, dir) = (network().await, Web::start(), tempfile::tempdir().unwrap());
    let client = client(dir.path(), net.invite()).await.unwrap();
    let mut stream = client.connect(("127.0.0.1", web.port())).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.0\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 10_000]).await.unwrap();
    client.shutdown().await;
    let broken = Error::from(stream.read_to_end(&mut Vec::new()).await.unwrap_err());
    assert_eq!(broken.kind(), ErrorKind::NotRunning);
    let refused = client.connect(("127.0.0.1", web.port())).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotRunning);
}

#[tokio::test]
async fn what_is_dropped_half_way_leaves_a_node_that_works() {
    let (net, web) = (network().await, Web::start());
    let client = net.client();
    let noise =
        |n: u8| (0..2_000_000_u32).map(move |i| (i.wrapping_mul(2_654_435_761) >> 11) as u8 ^ n).collect::<Vec<_>>();
    let published = client.put(Content::reader("whole", std::io::Cursor::new(noise(0)))).await.unwrap();
    let link = published.link.parse().unwrap();
    for round in 0..20_u8 {
        let soon = Duration::from_millis(u64::from(round));
        let put = client.put(Content::reader("half", std::io::Cursor::new(noise(round))));
        let _ = tokio::time::timeout(soon, put).await;
        let _ = tokio::time::timeout(soon, client.isolated().open(&link)).await;
        let _ = tokio::time::timeout(soon, client.isolated().connect(("127.0.0.1", web.port()))).await;
        let object = client.open(&link).await.unwrap();
        let mut reader = object.read_at(0..object.len());
        assert!(reader.chunk().await.unwrap().is_some());
    }
    // A stream that is dropped while both sides write.
    let mut stream = client.connect(("127.0.0.1", web.port())).await.unwrap();
    stream.write_all(b"GET /endless HTTP/1.0\r\n\r\n").await.unwrap();
    drop(stream);
    let mut whole = Vec::new();
    client.open(&link).await.unwrap().read_to_end(&mut whole).await.unwrap();
    assert_eq!(whole, noise(0));
    // Nothing of it is left once it has heard of the drops.
    let mut left = usize::MAX;
    for _ in 0..100 {
        let status = client.status().await.unwrap();
        let exits = |c: &&umbel::CircuitStatus| c.isolation.starts_with("exit-");
        let circuits: Vec<_> = status.circuits.iter().filter(exits).map(|c| c.id).collect();
        left = status.streams.iter().filter(|s| circuits.contains(&s.circuit)).count();
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(left, 0, "streams through exits");
}
