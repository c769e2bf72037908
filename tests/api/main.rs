//! The library as a program uses it, against whole networks of its own on loopback.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, reason = "a helper's panic is its test's failure")]

mod examples;
mod lifetime;
mod web;

use std::io::SeekFrom;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use umbel::{Client, Content, ErrorKind, Fault, Link, Object, ObjectReader, Put, Relay, Stream, Testnet};
use web::Web;

/// A network with an exit.
async fn network() -> Testnet {
    Testnet::builder().relays(5).exit(true).start().await.unwrap()
}

#[tokio::test]
async fn a_page_and_a_link_are_fetched_in_ten_lines() -> Result<(), Box<dyn std::error::Error>> {
    let (net, web) = (network().await, Web::start());
    let client = net.client();

    let mut stream = client.connect(("127.0.0.1", web.port())).await?;
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    assert!(page.ends_with("hello from /page"), "{page}");

    let published = client.put(Content::reader("note.txt", &b"a note"[..])).await?;
    let mut note = String::new();
    client.open(&published.link.parse()?).await?.read_to_string(&mut note).await?;
    assert_eq!((note.as_str(), published.verified), ("a note", true));
    Ok(())
}

#[tokio::test]
async fn a_folder_is_put_and_read_in_any_order() -> Result<(), Box<dyn std::error::Error>> {
    let net = Testnet::start(5).await?;
    let site = tempfile::tempdir()?;
    let big: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    std::fs::create_dir(site.path().join("b"))?;
    std::fs::write(site.path().join("a.txt"), "first")?;
    std::fs::write(site.path().join("b/big"), &big)?;
    let put = net.client().put(site.path());
    let progress = put.progress();
    let published = put.await?;
    assert!(progress.has_changed().is_err(), "the upload is over");
    assert_eq!((published.files, published.bytes), (2, 300_005));

    let link: Link = published.link.parse()?;
    let folder = net.client().open(&link).await?;
    assert!(folder.is_folder() && folder.len() == 300_005);
    let names: Vec<_> = folder.entries().into_iter().map(|e| (e.path, e.offset, e.len)).collect();
    assert_eq!(names, [("a.txt".to_owned(), 0, 5), ("b/big".to_owned(), 5, 300_000)]);

    let mut file = folder.file("b/big").unwrap();
    let mut some = [0; 1000];
    file.seek(SeekFrom::End(-1000)).await?;
    file.read_exact(&mut some).await?;
    assert_eq!(some, big[299_000..]);
    file.seek(SeekFrom::Start(70_000)).await?;
    file.read_exact(&mut some).await?;
    assert_eq!(some, big[70_000..71_000]);
    let (mut part, mut reader) = (Vec::new(), file.read_at(65_000..140_000));
    while let Some(piece) = reader.chunk().await? {
        part.extend(piece);
    }
    assert_eq!(part, big[65_000..140_000]);
    let named: Link = format!("{}b/big", published.url).parse()?;
    assert_eq!(net.client().open(&named).await?.len(), 300_000, "a URL names a file");
    Ok(())
}

#[tokio::test]
async fn isolated_clients_never_share_a_circuit() {
    let (net, web) = (network().await, Web::start());
    let client = net.client();
    let circuit = async |client: &Client| {
        let stream = client.connect(("127.0.0.1", web.port())).await.unwrap();
        let receipt = stream.receipt().clone();
        assert!(receipt.post_quantum && receipt.hops.len() == 3, "{receipt:?}");
        assert_eq!(receipt.hops.last(), Some(&net.relays().last().unwrap().id()), "the exit is the last");
        receipt.circuit
    };
    let (alice, bob) = (client.isolated_by("alice"), client.isolated_by("bob"));
    let of_alice = circuit(&alice).await;
    assert_eq!(of_alice, circuit(&client.isolated_by("alice")).await, "the same token shares");
    let all = [
        circuit(client).await,
        of_alice,
        circuit(&bob).await,
        circuit(&client.isolated()).await,
        circuit(&client.isolated()).await,
        circuit(&bob.isolated_by("alice")).await,
    ];
    for (n, one) in all.iter().enumerate() {
        assert!(all[n + 1..].iter().all(|other| other != one), "{all:?}");
    }
    assert_eq!(circuit(client).await, all[0], "one handle's streams share");
}

#[tokio::test]
async fn what_cannot_be_says_whose_fault_it_is() {
    let (net, web) = (network().await, Web::start());
    let client = net.client();
    let refused = client.connect(("127.0.0.1", web.closed_port())).await.unwrap_err();
    assert_eq!((refused.kind(), refused.fault()), (ErrorKind::Refused, Fault::Publisher));
    let local = client.connect(("printer.local", 80)).await.unwrap_err();
    assert_eq!((local.kind(), local.rule()), (ErrorKind::Forbidden, Some("PROXY-15")));
    let nobody: Link = format!("umbel:{0}/{0}", "a".repeat(52)).parse().unwrap();
    let missing = client.open(&nobody).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.hint().is_some() && std::error::Error::source(&missing).is_some());
    let odd = client.lookup("what").await.unwrap_err();
    assert_eq!((odd.kind(), odd.fault()), (ErrorKind::Usage, Fault::You));
    assert_eq!(client.resolve("127.0.0.1").await.unwrap(), [std::net::IpAddr::from([127, 0, 0, 1])]);
}

#[test]
fn handles_and_futures_go_from_thread_to_thread() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    fn sends<T: Send>(_: impl FnOnce(Client, Link) -> T) {}
    is_shared::<Client>();
    is_shared::<Relay>();
    is_send::<Stream>();
    is_send::<Object>();
    is_send::<ObjectReader>();
    is_send::<Put>();
    is_send::<Testnet>();
    sends(|client, _| async move { client.connect(("h", 1)).await });
    sends(|client, link| async move { client.open(&link).await });
    sends(|client, _| async move { client.put("p").await });
    sends(|_, _| async move { Testnet::start(4).await });
}
