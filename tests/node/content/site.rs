//! A site of several hundred files: published, fetched, browsed and mirrored.

use super::{MOVE_MAX, assert_same, curl, files, installed, run, stored, text, word};
use crate::harness::{Testnet, shell};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECTIONS: usize = 26;
const PAGES: usize = 20;

/// Writes a site as documentation packages have them: an index, sections, pages with links forth and back, a script.
fn write_site(folder: &Path) {
    fs::create_dir_all(folder.join("assets")).unwrap();
    fs::write(folder.join("assets/style.css"), "body { font-family: sans-serif; }\n").unwrap();
    fs::write(folder.join("assets/script.js"), "document.getElementById('h').textContent = 'scripts ' + 'run';\n")
        .unwrap();
    fs::write(folder.join("assets/figure one.svg"), "<svg xmlns='http://www.w3.org/2000/svg'/>").unwrap();
    let head = |title: &str, up: &str| {
        format!(
            "<!doctype html><meta charset=utf-8><title>{title}</title><link rel=stylesheet href=\"{up}assets/style.css\">"
        )
    };
    let mut index = head("Index", "") + "<h1 id=h>plain</h1><img src=\"assets/figure%20one.svg\"><ul>";
    for s in 0..SECTIONS {
        let section = folder.join(format!("section-{s}"));
        fs::create_dir(&section).unwrap();
        let _ = write!(index, "<li><a href=\"section-{s}/\">Section {s}</a>");
        let mut list = head("Section", "../") + "<a href=\"/index.html\">up</a>";
        for p in 0..PAGES {
            let _ = write!(list, "<a href=\"page-{p}.html\">{p}</a>");
            let next = (p + 1) % PAGES;
            let body = "A line of the page. ".repeat(10 + s * p);
            let page = format!("{}<h1>{s}.{p}</h1><p>{body}<a href=\"page-{next}.html\">next</a>", head("Page", "../"));
            fs::write(section.join(format!("page-{p}.html")), page).unwrap();
        }
        fs::write(section.join("index.html"), list).unwrap();
    }
    index.push_str("</ul><script src=\"assets/script.js\"></script>");
    fs::write(folder.join("index.html"), index).unwrap();
}

/// Puts a site, gets it, mirrors it from the page `start` on, and shows it in a browser, where `words` must stand. Gives the
/// links that lead to no file of the site; links to its files must all work.
fn publish_browse_and_mirror(site: &Path, start: &str, words: &str) -> Vec<String> {
    let all = files(site);
    assert!(all.len() >= 500, "{} files", all.len());
    let bytes = all.values().map(|b| b.len() as u64).sum();
    let net = Testnet::start(&["--relays", "8"]);
    let put = net.umbel_within(MOVE_MAX, &["put", &text(site)]);
    let report = stored(&put, all.len() as u64, bytes, 8);
    println!("put {} files, {bytes} bytes in {} ms", all.len(), report["elapsed_ms"]);

    let out = net.home().join("fetched");
    let fetched = net.umbel_within(MOVE_MAX, &["get", word(&report, "link"), "-o", &text(&out)]).ok().json();
    println!("got them in {} ms", fetched["elapsed_ms"]);
    assert_same(&out, site);

    let url = word(&report, "url");
    if all.contains_key("index.html") {
        assert!(curl(&net.socks(), &[], url) == all["index.html"], "the front page by curl");
    }
    let mut broken = Vec::new();
    if installed("wget") {
        let mirror = net.home().join("mirror");
        let line = format!("wget -nv -m -nH -e robots=off -T 60 -t 1 -P {} {url}{start}", text(&mirror));
        let env = [("http_proxy", format!("http://{}", net.socks()))];
        let wget = shell(Duration::from_secs(240), &line, &env.each_ref().map(|(k, v)| (*k, v.as_str())));
        broken = not_found(&wget.err()).iter().map(|link| link.trim_start_matches(url).to_owned()).collect();
        // Code 8 is what wget ends with when a link leads nowhere.
        let wget = if broken.is_empty() { wget.ok() } else { wget };
        assert!(matches!(wget.code(), 0 | 8), "{}", wget.err());
        for link in &broken {
            assert!(!all.contains_key(link), "{link} is a file of the site");
        }
        let mirrored = files(&mirror);
        let same = mirrored.iter().filter(|(name, bytes)| all.get(*name) == Some(*bytes)).count();
        println!("wget mirrored {same} files; {} links lead to files that the site does not have", broken.len());
        assert!(same >= 500 && same == mirrored.len(), "{same} of {}", mirrored.len());
    }
    if installed("chromium") {
        let browser = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"];
        let all = [&["browse", "--browser", "chromium", url, "--"][..], &browser].concat();
        let shown = net.umbel_within(Duration::from_secs(90), &all).ok();
        // With --json standard output is the report's, so the browser's goes to standard error.
        assert!(shown.err().contains(words), "{}\n{}", shown.out(), shown.err());
    }
    broken
}

/// The addresses that wget says were not found: each stands on the line before its error.
fn not_found(said: &str) -> Vec<String> {
    let lines: Vec<_> = said.lines().collect();
    let errors = lines.windows(2).filter(|pair| pair[1].contains("ERROR 404"));
    errors.map(|pair| pair[0].trim_end_matches(':').to_owned()).collect()
}

// spec: PROXY-18
#[test]
fn a_site_of_five_hundred_files_is_fetched_browsed_and_mirrored() {
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site");
    write_site(&site);
    let broken = publish_browse_and_mirror(&site, "", "scripts run</h1>");
    assert!(broken.is_empty(), "{broken:?}");
}

/// The same with a real documentation package: the folder in `UMBEL_SITE`, else that of Debian's `git-doc` or `git`.
/// How it is run: `CONTRIBUTING.md`, long runs.
#[test]
#[ignore = "needs a documentation package"]
fn a_documentation_package_is_fetched_browsed_and_mirrored() {
    let named = std::env::var_os("UMBEL_SITE").map(PathBuf::from);
    let known = ["/usr/share/doc/git/html", "/usr/share/doc/git"].map(PathBuf::from);
    let has = |folder: &PathBuf| folder.is_dir() && files(folder).len() >= 500;
    let Some(source) = named.into_iter().chain(known).find(has) else {
        return eprintln!("LEFT OUT: no folder of at least 500 files; name one in UMBEL_SITE");
    };
    // Links within the package are followed, so the site is what stands there as files.
    let home = tempfile::tempdir().unwrap();
    let site = home.path().join("site");
    run(MOVE_MAX, "cp", &["-rL", &text(&source), &text(&site)]).ok();
    // Not every file of a package is linked to, so a list of them is added, which is also the front page where none is.
    let names: Vec<_> = files(&site).into_keys().collect();
    let link = |n: &String| {
        format!("<li><a href=\"{}\">file</a>", n.replace('%', "%25").replace(' ', "%20").replace('#', "%23"))
    };
    let list = format!("<!doctype html><title>all</title>{}", names.iter().map(link).collect::<String>());
    fs::write(site.join("every-file.html"), &list).unwrap();
    if !site.join("index.html").is_file() {
        fs::write(site.join("index.html"), list).unwrap();
    }
    publish_browse_and_mirror(&site, "every-file.html", "<html");
}
