//! What Chromium is told.

use super::profile::Profile;
use crate::host::dir::{PRIVATE, write_atomic};
use crate::host::error::Error;
use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::net::SocketAddr;

/// Arguments that only this program gives.
pub(super) const RESERVED: &[&str] = &[
    "user-data-dir",
    "profile-directory",
    "temp-profile",
    "no-proxy-server",
    "enable-quic",
    "origin-to-force-quic-on",
    "enable-features",
    "disable-features",
    "load-extension",
    "disable-extensions-except",
    "enable-remote-extensions",
    "winhttp-proxy-resolver",
    "app-id",
];

/// The same, by how they begin.
pub(super) const RESERVED_PREFIXES: &[&str] =
    &["proxy-", "host-", "force-webrtc", "webrtc-", "variations-", "force-fieldtrial"];

/// Switches without a value: services that would call home, and ways past the proxy.
const SWITCHES: &[&str] = &[
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--no-service-autorun",
    "--dns-prefetch-disable",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-client-side-phishing-detection",
    "--disable-component-extensions-with-background-pages",
    "--disable-component-update",
    "--disable-crash-reporter",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-field-trial-config",
    "--disable-search-engine-choice-screen",
    "--disable-speech-api",
    "--disable-sync",
    // A transport may use UDP only where it goes through the proxy, and a SOCKS proxy without UDP carries none.
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--password-store=basic",
    "--media-router=0",
    // Bytes of the cache: the profile may lie in memory.
    "--disk-cache-size=67108864",
];

/// Features that look for other machines, call services, or connect before a page does.
const FEATURES: &[&str] = &[
    "AsyncDns",
    "AutofillServerCommunication",
    "CaptivePortalCertificateList",
    "CastMediaRouteProvider",
    "CertificateTransparencyComponentUpdater",
    "DialMediaRouteProvider",
    "DnsOverHttpsUpgrade",
    "GlobalMediaControlsCastStartStop",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "InterestFeedContentSuggestions",
    "LensOverlay",
    "MediaRouter",
    "NavigationPredictor",
    "NetworkTimeServiceQuerying",
    "OptimizationGuideModelDownloading",
    "OptimizationHints",
    "OptimizationHintsFetching",
    "OptimizationTargetPrediction",
    "PreconnectToSearch",
    "Prerender2",
    "SegmentationPlatformFeature",
    "SpareRendererForSitePerProcess",
    "Translate",
    "UseDnsHttpsSvcb",
    // Made-up names that stand for this machine's addresses and are resolved by multicast.
    "WebRtcHideLocalIpsWithMdns",
];

/// The command line, but for the program and what is opened.
pub(super) fn arguments(profile: &Profile, proxy: SocketAddr) -> Vec<OsString> {
    let mut all: Vec<OsString> = SWITCHES.iter().map(OsString::from).collect();
    let mut data = OsString::from("--user-data-dir=");
    data.push(profile.data());
    all.push(data);
    all.push(format!("--proxy-server=socks5://{proxy}").into());
    // Without this, addresses of this machine would be connected to directly.
    all.push("--proxy-bypass-list=<-loopback>".into());
    // The proxy gets names unresolved. Code that looks one up anyway finds nothing.
    all.push(format!("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE {}", proxy.ip()).into());
    all.push(format!("--disable-features={}", FEATURES.join(",")).into());
    all
}

/// Settings of the profile that have no switch.
fn preferences(profile: &Profile) -> Value {
    let mut all = json!({
        "alternate_error_pages": {"enabled": false},
        "autofill": {"credit_card_enabled": false, "profile_enabled": false},
        "background_mode": {"enabled": false},
        "browser": {"check_default_browser": false},
        "credentials_enable_service": false,
        "dns_prefetching": {"enabled": false},
        "download": {"prompt_for_download": true},
        "net": {"network_prediction_options": 2},
        "payments": {"can_make_payment_enabled": false},
        "safebrowsing": {"enabled": false, "enhanced": false, "scout_reporting_enabled": false},
        "search": {"suggest_enabled": false},
        "signin": {"allowed": false, "allowed_on_next_startup": false},
        "spellcheck": {"dictionaries": [], "use_spelling_service": false},
        "browser_enable_spellchecking": false,
        "translate": {"enabled": false},
        "url_keyed_anonymized_data_collection": {"enabled": false},
        "webrtc": {
            "ip_handling_policy": "disable_non_proxied_udp",
            "multiple_routes_enabled": false,
            "nonproxied_udp_enabled": false,
        },
    });
    if let Some(folder) = profile.downloads() {
        merge(&mut all, json!({"download": {"default_directory": folder}, "savefile": {"default_directory": folder}}));
    }
    all
}

/// Settings of the whole program.
fn local_state() -> Value {
    json!({
        "background_mode": {"enabled": false},
        "dns_over_https": {"mode": "off", "templates": ""},
        "user_experience_metrics": {"reporting_enabled": false},
    })
}

/// Writes the settings. Other contents of a kept profile stay.
pub(super) fn furnish(profile: &Profile) -> Result<(), Error> {
    let data = profile.data();
    let default = data.join("Default");
    std::fs::create_dir_all(&default).map_err(|e| Error::file("make", &default, &e))?;
    for (path, ours) in [(default.join("Preferences"), preferences(profile)), (data.join("Local State"), local_state())]
    {
        let kept = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut all = kept.filter(Value::is_object).unwrap_or_else(|| Value::Object(Map::new()));
        merge(&mut all, ours);
        write_atomic(&path, all.to_string().as_bytes(), PRIVATE)?;
    }
    Ok(())
}

/// Sets every leaf of `from` in `into`.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_merged_leaf_by_leaf() {
        let mut kept = json!({"webrtc": {"ip_handling_policy": "default", "x": 1}, "y": 2, "net": 3});
        merge(&mut kept, json!({"webrtc": {"ip_handling_policy": "z"}, "net": {"a": 4}}));
        assert_eq!(kept, json!({"webrtc": {"ip_handling_policy": "z", "x": 1}, "y": 2, "net": {"a": 4}}));
    }
}
