//! An HTTP client (hyper) over a stream of Umbel: `embed_http INVITE HOST PORT PATH`.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [invite, host, port, path] = arguments.as_slice() else {
        return Err("embed_http INVITE HOST PORT PATH".into());
    };
    let client = umbel::Client::builder("embed_http-state").invite(umbel::Invite::read(invite)?).start().await?;
    let stream = client.connect((host.as_str(), port.parse()?)).await?;
    let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = hyper::Request::get(path).header("Host", host).body(Empty::<Bytes>::new())?;
        let answer = requests.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        println!("{status}: {} bytes", body.len());
    }
    client.shutdown().await;
    Ok(())
}
