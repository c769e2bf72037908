//! Joins a network as a relay until its standard input ends: `relay INVITE LISTEN`.

use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [invite, listen] = arguments.as_slice() else { return Err("relay INVITE LISTEN".into()) };
    let relay = umbel::Relay::builder("relay-state")
        .invite(umbel::Invite::read(invite)?)
        .listen(listen.parse()?)
        .store(64 << 20)
        .start()
        .await?;
    let mut events = relay.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            eprintln!("{event:?}");
        }
    });
    relay.ready().await?;
    println!("{} is part of the network at {}", relay.id(), relay.addr());
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    let _ = tokio::time::timeout(std::time::Duration::from_secs(30), relay.drain()).await;
    relay.shutdown().await;
    Ok(())
}
