//! Publishes a file or folder, and reads it back through other circuits: `publish INVITE PATH`.

use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [invite, path] = arguments.as_slice() else { return Err("publish INVITE PATH".into()) };
    let client = umbel::Client::builder("publish-state").invite(umbel::Invite::read(invite)?).start().await?;
    let put = client.put(path.as_str());
    let mut progress = put.progress();
    tokio::spawn(async move {
        while progress.changed().await.is_ok() {
            let p = progress.borrow_and_update().clone();
            eprintln!("{} {} of {}", p.phase, p.done, p.total);
        }
    });
    let published = put.await?;
    let mut object = client.isolated().open(&published.link.parse()?).await?;
    let mut content = Vec::new();
    object.read_to_end(&mut content).await?;
    println!("{} bytes in {} file(s) at {}", content.len(), published.files, published.link);
    client.shutdown().await;
    Ok(())
}
