//! Fetches a page through three relays: `connect INVITE HOST PORT`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [invite, host, port] = arguments.as_slice() else { return Err("connect INVITE HOST PORT".into()) };
    let client = umbel::Client::builder("connect-state").invite(umbel::Invite::read(invite)?).start().await?;
    let mut stream = client.connect((host.as_str(), port.parse()?)).await?;
    eprintln!("through {} relays", stream.receipt().hops.len());
    stream.write_all(format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    print!("{page}");
    client.shutdown().await;
    Ok(())
}
