//! The settings of Firefox, all of which are in its profile.

use super::profile::Profile;
use crate::host::dir::{PRIVATE, write_atomic};
use crate::host::error::Error;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Arguments that only this program gives.
pub(super) const RESERVED: &[&str] =
    &["p", "profile", "profilemanager", "createprofile", "migration", "setdefaultpref", "setdefaultbrowser", "app"];

/// The command line, but for the program and what is opened.
pub(super) fn arguments(profile: &Profile) -> Vec<OsString> {
    vec!["--no-remote".into(), "--new-instance".into(), "--profile".into(), profile.data().into_os_string()]
}

/// Settings that are false.
const OFF: &[&str] = &[
    // ways past the proxy
    "network.proxy.allow_bypass",
    "network.proxy.failover_direct",
    "network.http.http3.enable",
    "network.http.altsvc.enabled",
    "network.http.altsvc.oe",
    "network.webtransport.enabled",
    "network.webtransport.datagrams.enabled",
    "network.dns.native_https_query",
    "network.dns.upgrade_with_https_rr",
    "network.dns.use_https_rr_as_altsvc",
    "network.dns.force_use_https_rr",
    "network.manage-offline-status",
    "media.peerconnection.ice.obfuscate_host_addresses",
    // before a page asks
    "network.dns.prefetch_via_proxy",
    "network.predictor.enabled",
    "network.predictor.enable-prefetch",
    "network.prefetch-next",
    "network.preconnect",
    "network.early-hints.preconnect.enabled",
    "browser.urlbar.speculativeConnect.enabled",
    "browser.places.speculativeConnect.enabled",
    "browser.send_pings",
    // a name that is mistyped goes nowhere
    "keyword.enabled",
    "browser.fixup.alternate.enabled",
    "browser.fixup.dns_first_for_single_words",
    "browser.search.suggest.enabled",
    "browser.search.update",
    "browser.search.serpEventTelemetryCategorization.enabled",
    "browser.urlbar.suggest.searches",
    "browser.urlbar.quicksuggest.enabled",
    "browser.urlbar.suggest.quicksuggest.sponsored",
    "browser.urlbar.suggest.quicksuggest.nonsponsored",
    "browser.urlbar.merino.enabled",
    "browser.urlbar.trending.featureGate",
    "dom.security.https_only_mode",
    "dom.security.https_first",
    "dom.security.https_first_schemeless",
    // services
    "network.captive-portal-service.enabled",
    "network.connectivity-service.enabled",
    "app.normandy.enabled",
    "app.update.enabled",
    "app.update.auto",
    "app.update.background.enabled",
    "browser.discovery.enabled",
    "browser.crashReports.unsubmittedCheck.enabled",
    "browser.crashReports.unsubmittedCheck.autoSubmit2",
    "browser.contentblocking.report.monitor.enabled",
    "browser.ml.enable",
    "browser.ml.chat.enabled",
    "browser.newtabpage.enabled",
    "browser.newtabpage.activity-stream.feeds.system.topstories",
    "browser.newtabpage.activity-stream.feeds.topsites",
    "browser.newtabpage.activity-stream.showSponsored",
    "browser.newtabpage.activity-stream.showSponsoredTopSites",
    "browser.newtabpage.activity-stream.telemetry",
    "browser.newtab.preload",
    "browser.aboutwelcome.enabled",
    "browser.region.update.enabled",
    "browser.safebrowsing.blockedURIs.enabled",
    "browser.safebrowsing.downloads.enabled",
    "browser.safebrowsing.downloads.remote.enabled",
    "browser.safebrowsing.malware.enabled",
    "browser.safebrowsing.phishing.enabled",
    "browser.safebrowsing.provider.google5.enabled",
    "browser.shell.checkDefaultBrowser",
    "browser.tabs.crashReporting.sendReport",
    "browser.topsites.contile.enabled",
    "browser.translations.enable",
    "datareporting.healthreport.uploadEnabled",
    "datareporting.policy.dataSubmissionEnabled",
    "datareporting.usage.uploadEnabled",
    "dom.push.enabled",
    "dom.push.connection.enabled",
    "dom.private-attribution.submission.enabled",
    "extensions.blocklist.enabled",
    "extensions.getAddons.cache.enabled",
    "extensions.getAddons.showPane",
    "extensions.systemAddon.update.enabled",
    "extensions.update.enabled",
    "extensions.update.autoUpdateDefault",
    "extensions.webservice.discoverURL",
    "geo.enabled",
    "identity.fxaccounts.enabled",
    "media.gmp-provider.enabled",
    "media.gmp-gmpopenh264.enabled",
    "media.gmp-widevinecdm.enabled",
    "media.gmp-manager.updateEnabled",
    "media.eme.enabled",
    "media.webspeech.recognition.enable",
    "media.webspeech.synth.enabled",
    "messaging-system.rsexperimentloader.enabled",
    "nimbus.rollouts.enabled",
    "privacy.query_stripping.enabled",
    "privacy.trackingprotection.enabled",
    "security.remote_settings.crlite_filters.enabled",
    "security.remote_settings.intermediates.enabled",
    "services.sync.enabled",
    "signon.management.page.breach-alerts.enabled",
    "signon.rememberSignons",
    "toolkit.telemetry.archive.enabled",
    "toolkit.telemetry.bhrPing.enabled",
    "toolkit.telemetry.enabled",
    "toolkit.telemetry.firstShutdownPing.enabled",
    "toolkit.telemetry.newProfilePing.enabled",
    "toolkit.telemetry.shutdownPingSender.enabled",
    "toolkit.telemetry.unified",
    "toolkit.telemetry.updatePing.enabled",
    // Remote control of the browser must not loosen these settings.
    "remote.prefs.recommended",
    // traces outside the profile
    "browser.cache.disk.enable",
    "browser.download.start_downloads_in_tmp_dir",
    "browser.helperApps.deleteTempFileOnExit.disabled",
];

/// Settings that are true.
const ON: &[&str] = &[
    "network.proxy.allow_hijacking_localhost",
    "network.proxy.testing_localhost_is_secure_when_hijacked",
    "network.proxy.socks_remote_dns",
    "network.proxy.socks5_remote_dns",
    "network.dns.disablePrefetch",
    "network.dns.disablePrefetchFromHTTPS",
    "network.dns.blockDotOnion",
    "network.file.disable_unc_paths",
    "media.peerconnection.ice.default_address_only",
    "media.peerconnection.ice.no_host",
    "media.peerconnection.ice.proxy_only",
    "media.peerconnection.ice.relay_only",
    "app.update.disabledForTesting",
    "browser.fixup.domainsuffixwhitelist.umbel",
    "datareporting.policy.dataSubmissionPolicyBypassNotification",
    "toolkit.telemetry.coverage.opt-out",
    "toolkit.coverage.opt-out",
    "browser.helperApps.deleteTempFileOnExit",
];

/// Addresses of services: none.
const NOWHERE: &[&str] = &[
    "network.proxy.no_proxies_on",
    "network.gio.supported-protocols",
    "network.trr.uri",
    "network.trr.default_provider_uri",
    "app.normandy.api_url",
    "app.update.url",
    "breakpad.reportURL",
    "browser.contentblocking.report.hide_vpn_banner",
    "browser.geolocation.warning.infoURL",
    "browser.newtabpage.activity-stream.discoverystream.endpoints",
    "browser.newtabpage.activity-stream.default.sites",
    "browser.region.network.url",
    "browser.safebrowsing.downloads.remote.url",
    "browser.safebrowsing.provider.google.gethashURL",
    "browser.safebrowsing.provider.google.updateURL",
    "browser.safebrowsing.provider.google4.dataSharingURL",
    "browser.safebrowsing.provider.google4.gethashURL",
    "browser.safebrowsing.provider.google4.updateURL",
    "browser.safebrowsing.provider.google5.gethashURL",
    "browser.safebrowsing.provider.google5.updateURL",
    "browser.safebrowsing.provider.mozilla.gethashURL",
    "browser.safebrowsing.provider.mozilla.updateURL",
    "browser.search.searchEnginesURL",
    "browser.topsites.contile.endpoint",
    "captivedetect.canonicalURL",
    "dom.push.serverURL",
    "extensions.blocklist.addonItemURL",
    "extensions.getAddons.get.url",
    "extensions.systemAddon.update.url",
    "extensions.update.background.url",
    "extensions.update.url",
    "geo.provider.network.url",
    "media.gmp-manager.url",
    "network.connectivity-service.DNSv4.domain",
    "network.connectivity-service.DNSv6.domain",
    "network.connectivity-service.IPv4.url",
    "network.connectivity-service.IPv6.url",
    "startup.homepage_override_url",
    "startup.homepage_welcome_url",
    "startup.homepage_welcome_url.additional",
];

/// All settings, by their names.
fn settings(profile: &Profile, proxy: SocketAddr, outside: bool) -> Vec<(&'static str, Value)> {
    let mut all: Vec<(&str, Value)> = Vec::new();
    all.extend(OFF.iter().map(|name| (*name, json!(false))));
    all.extend(ON.iter().map(|name| (*name, json!(true))));
    all.extend(NOWHERE.iter().map(|name| (*name, json!(""))));
    all.extend([
        ("network.proxy.type", json!(1)),
        ("network.proxy.socks", json!(proxy.ip().to_string())),
        ("network.proxy.socks_port", json!(proxy.port())),
        ("network.proxy.socks_version", json!(5)),
        ("network.proxy.http", json!("")),
        ("network.proxy.http_port", json!(0)),
        ("network.proxy.ssl", json!("")),
        ("network.proxy.ssl_port", json!(0)),
        ("network.trr.mode", json!(5)),
        ("network.http.speculative-parallel-limit", json!(0)),
        // Sites reach nobody, so they need no connection between browsers; hosts outside get one by TCP through the proxy.
        ("media.peerconnection.enabled", json!(outside)),
        ("browser.startup.page", json!(0)),
        ("browser.startup.homepage", json!("about:blank")),
        ("browser.startup.homepage_override.mstone", json!("ignore")),
        ("browser.sessionstore.resume_from_crash", json!(false)),
        ("extensions.autoDisableScopes", json!(15)),
        ("extensions.enabledScopes", json!(0)),
        // Certificates are checked without asking who issued them.
        ("security.OCSP.enabled", json!(0)),
        ("security.pki.crlite_mode", json!(0)),
        // An address that does not parse would be replaced by the built-in one; this one the proxy refuses.
        ("services.settings.server", json!("https://settings.invalid/v1")),
        // Code that bypasses the proxy settings to look a name up gets this address and asks no name server.
        ("network.dns.forceResolve", json!(proxy.ip().to_string())),
        ("toolkit.telemetry.server", json!("data:,")),
        ("telemetry.fog.test.localhost_port", json!(-1)),
        ("browser.cache.memory.capacity", json!(65536)),
        // 2 asks where each download goes.
        ("browser.download.folderList", json!(2)),
        ("browser.download.useDownloadDir", json!(false)),
        ("browser.download.always_ask_before_handling_new_types", json!(true)),
        ("network.protocol-handler.external-default", json!(false)),
        ("network.protocol-handler.expose-all", json!(true)),
        ("security.external_protocol_requires_permission", json!(true)),
    ]);
    if let Some(folder) = profile.downloads() {
        all.push(("browser.download.dir", json!(folder)));
    }
    all
}

/// Writes the settings. Firefox reads this file at every start, after what it kept itself.
pub(super) fn furnish(profile: &Profile, proxy: SocketAddr, outside: bool) -> Result<(), Error> {
    let mut text = String::from("// Written by umbel browse at every start.\n");
    for (name, value) in settings(profile, proxy, outside) {
        let _ = writeln!(text, "user_pref(\"{name}\", {value});");
    }
    write_atomic(&profile.data().join("user.js"), text.as_bytes(), PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_setting_is_given_twice() {
        let temp = tempfile::tempdir().unwrap();
        let profile = Profile::open(temp.path(), Some("x"), false).unwrap();
        let all = settings(&profile, "127.1.2.3:4".parse().unwrap(), false);
        let names: BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), all.len());
    }
}
