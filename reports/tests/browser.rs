//! The HTML page in headless Chromium (Debian package `chromium`): every view is
//! opened by click and by key, and nothing may be said on the console.
//!
//! A driver script is put behind the page's own. It acts as a user would and
//! writes what it saw into the document, which Chromium then prints. With
//! `WDIFF_SCREENSHOTS=DIR` pictures are taken too.

mod samples;

use reports::{Report, html};
use std::path::Path;
use std::process::Command;

/// Acts on the page; `see(name, condition)` notes a fact, and `wait` lets the page
/// end what it has begun. A busy machine may draw no frame in that time: none is ever drawn.
const DRIVER: &str = r#"
(async () => {
  window.requestAnimationFrame = () => 0;
  const seen = [];
  const see = (name, fact) => seen.push((fact ? 'ok ' : 'FAILED ') + name);
  const $ = (q) => document.querySelector(q), all = (q) => [...document.querySelectorAll(q)];
  const wait = () => new Promise((done) => setTimeout(done, 0));
  const key = (k, target) => (target || document.activeElement || document.body).dispatchEvent(new KeyboardEvent('keydown', { key: k, bubbles: true, cancelable: true }));
  addEventListener('error', (e) => seen.push('FAILED error: ' + e.message));
  addEventListener('securitypolicyviolation', (e) => seen.push('FAILED policy: ' + e.violatedDirective));
  try { await (DRIVE)({ see, $, all, wait, key }); } catch (e) { seen.push('FAILED ' + e.stack); }
  const pre = document.createElement('pre'); pre.id = 'seen'; pre.textContent = seen.join('\n'); document.body.append(pre);
})();
"#;

/// What the gate's page must do.
const GATE: &str = r#"async ({ see, $, all, wait, key }) => {
  see('verdict', $('#verdict').textContent === 'failed');
  see('two configurations', all('#matrix th').length === 3);
  see('three programs', all('#matrix tbody tr').length === 3);
  see('the divergence is open', $('#detail h2').textContent.includes('fib.wasm') && !$('#detail').hidden);
  see('wasm side', $('#wasm .here').textContent.includes('i32.add'));
  see('native side', $('#native .here').textContent.includes('int3'));
  see('wrong values are marked', all('#state tr.wrong').length === 2 && $('#state tr.wrong').textContent.includes('local3'));
  see('right values are not', all('#state tbody tr').length === 5);
  see('timeline', all('#timeline button').length === 4 && $('#moment').textContent.startsWith('here'));
  all('#timeline button')[3].focus(); key('ArrowLeft');
  see('timeline by key', $('#moment').textContent.startsWith('-1') && $('#moment').textContent.includes('local.get 1'));
  all('#timeline button')[0].click();
  see('timeline by click', $('#moment').textContent.includes('call 12'));
  $('[data-tab=functions]').click();
  see('functions', all('#functions [data-func]').length === 2 && all('#functions canvas').length === 2);
  const row = all('#functions [data-func]').find((b) => b.textContent.includes('fib'));
  row.click(); await wait();
  see('heat map', $('#big') !== null && $('#big').width > 600 && $('#detail').textContent.includes('stack0 (folded)'));
  const box = $('#big').getBoundingClientRect();
  $('#big').dispatchEvent(new MouseEvent('mousemove', { clientX: box.left + 11 * 4 + 3, clientY: box.top + 3 }));
  see('heat tip', $('#tip').textContent === '0x1a5: at least 50 % of the live values');
  $('#big').dispatchEvent(new MouseEvent('mousemove', { clientX: box.left + 11 * 6 + 3, clientY: box.top + 3 }));
  see('heat tip without anchor', $('#tip').textContent === '0x1f1: no anchor');
  $('[data-sort=code]').click();
  see('sort', $('[data-sort=code]').getAttribute('aria-sort') === 'descending' && all('#functions [data-func]')[0].textContent.includes('fib'));
  $('[data-sort=code]').click();
  see('sort up', all('#functions [data-func]')[0].textContent === '#3');
  $('[data-tab=figures]').click();
  see('figures', $('#detail').textContent.includes('102,347'));
  all('#matrix .cell').find((b) => b.textContent.includes('expectation')).click();
  see('failures', all('#failures tbody tr').length === 4 && $('#failures').textContent.includes('newly unavailable: local3'));
  key('n', document.body);
  see('next failure', $('#detail h2').textContent.includes('divergence'));
  key('p', document.body);
  see('previous failure', $('#detail h2').textContent.includes('failed'));
  $('[data-filter=bad]').click();
  see('filter', all('#matrix tbody tr').length === 1);
  $('[data-filter=open]').click();
  see('filter open', all('#matrix tbody tr').length === 2);
  $('[data-filter=all]').click();
  all('#matrix .cell')[0].focus(); key('ArrowRight');
  see('right', document.activeElement === all('#matrix tbody tr')[0].querySelectorAll('.cell')[1]);
  key('ArrowDown');
  see('down', document.activeElement === all('#matrix tbody tr')[1].querySelectorAll('.cell')[1]);
  document.activeElement.click();
  see('accepted', $('#detail').textContent.includes('accepted by the baseline'));
  key('/', document.body);
  see('search by key', document.activeElement.id === 'search');
  $('#search').value = 'late'; $('#search').dispatchEvent(new Event('input'));
  see('search', all('#matrix tbody tr').length === 1 && $('#matrix tbody').textContent.includes('late.wasm'));
  $('#search').value = '#12 fib'; $('#search').dispatchEvent(new Event('input'));
  see('search functions', all('#matrix tbody tr').length === 1 && $('#matrix tbody').textContent.includes('fib.wasm'));
  $('#search').value = 'nothing of the sort'; $('#search').dispatchEvent(new Event('input'));
  see('nothing', all('#matrix tbody tr').length === 0 && !$('#empty').hidden);
  key('Escape', $('#search'));
  see('search ends', all('#matrix tbody tr').length === 3);
  const before = getComputedStyle(document.body).backgroundColor;
  key('t', document.body);
  see('theme by key', getComputedStyle(document.body).backgroundColor !== before);
  $('#theme').click();
  see('theme by click', getComputedStyle(document.body).backgroundColor === before);
  key('Escape', document.body);
  see('closed', $('#detail').hidden);
  see('gone', $('#notes').textContent.includes('gone.wasm'));
  see('nothing is fetched', performance.getEntriesByType('resource').length === 0);
}"#;

fn chromium(arguments: &[&str], page: &Path, profile: &Path) -> (String, String) {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
        ])
        .args(["--disable-background-networking", "--enable-logging=stderr", "--v=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium is installed (Debian package chromium)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What the driver saw on a page.
fn drive(page: &str, script: &str) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let driver = DRIVER.replace("DRIVE", script);
    let page = page.replace("</body>", &format!("<script>{driver}</script></body>"));
    let file = scratch.path().join("page.html");
    std::fs::write(&file, page).unwrap();
    let arguments = ["--dump-dom", "--window-size=1400,1000", "--virtual-time-budget=20000"];
    let (dom, log) = chromium(&arguments, &file, scratch.path());
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    let (_, seen) = dom.split_once("<pre id=\"seen\">").unwrap_or_else(|| panic!("{log}\n{dom}"));
    let (seen, _) = seen.split_once("</pre>").unwrap();
    seen.lines().map(str::to_owned).collect()
}

fn all_ok(seen: &[String], least: usize) {
    let failed: Vec<&String> = seen.iter().filter(|line| !line.starts_with("ok ")).collect();
    assert!(failed.is_empty() && seen.len() >= least, "{failed:?} of {}", seen.len());
}

#[test]
fn every_view_of_a_gate_works() {
    let page = html::render(&samples::gate()).unwrap();
    let seen = drive(&page, GATE);
    all_ok(&seen, 36);
    if let Some(directory) = std::env::var_os("WDIFF_SCREENSHOTS") {
        pictures(&page, Path::new(&directory));
    }
    // The judge can say no.
    let broken = page.replace("class: e !== a ? 'wrong' : ''", "class: ''");
    assert!(broken != page);
    assert!(drive(&broken, GATE).iter().any(|line| line == "FAILED wrong values are marked"));
}

/// Names that would be markup, commands or the end of the data.
#[test]
fn hostile_names_are_text() {
    let (_, mut report) = samples::all().into_iter().find(|(name, _)| *name == "hostile").unwrap();
    report.program.path = "</script><img src=x onerror=alert(1)><!--".to_owned();
    let page = html::render(&report).unwrap();
    assert!(!page.contains("<img"));
    let script = "async ({ see, $, all }) => {
        see('one page', all('script').length === 3 && all('img').length === 0);
        see('text', $('#detail h2').textContent.includes('<' + '/script><img src=x'));
        see('no direction marks', !document.body.textContent.includes('\\u202e'));
    }";
    all_ok(&drive(&page, script), 3);
}

#[test]
fn every_sample_opens() {
    let script = "async ({ see, $, all }) => {
        see('verdict', $('#verdict').textContent.length > 3);
        see('detail', !$('#detail').hidden || !$('#overview').hidden);
    }";
    for (name, report) in samples::all() {
        let page = html::render(&report).unwrap();
        let seen = drive(&page, script);
        assert!(seen.len() == 2 && seen.iter().all(|s| s.starts_with("ok ")), "{name}: {seen:?}");
    }
}

/// A gate of 100 programs in four configurations, ten million boundaries.
fn large() -> Report {
    let mut jobs = Vec::new();
    let template = samples::jobs().remove(0);
    for program in 0..100u32 {
        for (at, opt) in ["none", "speed"].iter().cycle().take(4).enumerate() {
            let mut job = template.clone();
            job.index = u64::from(program) * 4 + at as u64;
            job.program = format!("corpus/programs/program-{program}/program-{program}.wasm");
            job.config.opt = (*opt).to_owned();
            job.config.stable = if at < 2 { "off" } else { "calls" }.to_owned();
            let report = job.report.as_mut().unwrap();
            report.functions = Some(samples::many_functions(program, at as u64, 60));
            let executed = 25_000;
            report.boundaries.executed = executed;
            report.boundaries.stops = executed;
            jobs.push(job);
        }
    }
    samples::gate_of(jobs, None)
}

#[test]
fn a_large_gate_is_small_and_opens_at_once() {
    let report = large();
    assert!(report.boundaries.executed >= 10_000_000);
    let page = html::render(&report).unwrap();
    assert!(page.len() < html::LIMIT, "{}", page.len());
    let script = "async ({ see, $, all }) => {
        const opened = performance.now();
        see('rows', all('#matrix tbody tr').length === 100 && all('#matrix .cell').length === 400);
        all('#matrix .cell')[7].click();
        see('functions', all('#functions [data-func]').length > 50);
        see('quick ' + (performance.now() - opened), performance.now() - opened < 2000);
    }";
    all_ok(&drive(&page, script), 3);
}

/// Both themes, for the documentation.
fn pictures(page: &str, directory: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    for (name, theme) in [("light", "light"), ("dark", "dark")] {
        let themed = page
            .replace("<html lang=\"en\">", &format!("<html lang=\"en\" data-theme=\"{theme}\">"));
        let file = scratch.path().join("page.html");
        std::fs::write(&file, themed).unwrap();
        let picture = directory.join(format!("sample-{name}.png"));
        let option = format!("--screenshot={}", picture.display());
        chromium(&[&option, "--window-size=1300,1500"], &file, scratch.path());
        assert!(picture.is_file());
    }
}
