//! Which addresses may be called, however they are written.

use super::{AllowPrivate, Calls, Canary, TaskError, attempt, configured, to};

/// Every host that must not be called, as somebody might write it. Most of them are this machine's loopback or reach
/// it on Linux: a guard that misses one is told on by the canary.
const LITERALS: [&str; 93] = [
    // 127.0.0.1, in every way that a URL knows.
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0177.0x0.1",
    "0000177.0.0.1",
    "127.0.0.0x1",
    "127.000.000.001",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "127。0。0。1",
    "１２７．０．０．１",
    "①②⑦.⓪.⓪.①",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "127.255.255.254",
    "127.127.127.127",
    "0",
    "0.0.0.0",
    "0x0",
    "00",
    "0.0.0.1",
    "0.255.255.255",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::ffff:0.0.0.0]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[64:ff9b:1:ffff::8.8.8.8]",
    "[2002:7f00:1::]",
    "[2002:808:808::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
    "[2001::1]",
    // Networks of one's own.
    "10.0.0.1",
    "10.255.255.255",
    "167772161",
    "0xa.0.0.1",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "0xc0a80001",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "100.64.0.1",
    "100.127.255.255",
    "[fc00::1]",
    "[fdff:ffff::1]",
    // Metadata services.
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "169.254.170.2",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "[fe80::1]",
    "[febf::1]",
    "[fec0::1]",
    // What nobody has.
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.255",
    "198.18.0.1",
    "198.19.255.255",
    "192.88.99.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[ff02::1]",
    "[2001:db8::1]",
    "[100::1]",
];

#[tokio::test]
async fn no_spelling_of_an_address_that_is_not_public_starts_or_is_called() {
    let canary = Canary::start().await;
    for host in LITERALS {
        let table = to(&format!("http://{host}:{}/", canary.port));
        let faults = configured(&table, "").expect_err(host);
        assert!(faults.starts_with("tasks.x.http.url (file taskrunnerx.toml): "), "{host}: {faults}");
        assert!(faults.contains(" and http.allow_private does not list it"), "{host}: {faults}");
        assert_eq!(faults.lines().count(), 1, "{host}: {faults}");

        // Were it to start, the guard at the connection would still stand.
        let (call, _) = configured(&table, "0.0.0.0/0, ::/0").expect(host);
        let handler = Calls::new(AllowPrivate::default(), 1024).handler("x", &call).unwrap();
        let ended = attempt(&handler).await;
        let Err(TaskError::Permanent(said)) = ended else { panic!("{host}: {ended:?}") };
        assert!(said.contains("http.allow_private"), "{host}: {said}");
    }
    assert_eq!(canary.came(), 0);

    // The canary sees who comes.
    let (call, allowed) = configured(&to(&format!("http://0x7f.1:{}/", canary.port)), "127.0.0.0/8").unwrap();
    let handler = Calls::new(allowed, 1024).handler("x", &call).unwrap();
    assert_eq!(attempt(&handler).await, Ok(Some("\"here\"".into())));
    assert_eq!(canary.came(), 1);
}

#[test]
fn public_addresses_may_be_called() {
    for host in [
        "1.1.1.1",
        "8.8.8.8",
        "0x08080808",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.167.1.1",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "[2606:4700:4700::1111]",
        "[2a00:1450::1]",
        "[2001:200::1]",
        "[2001:4860:4860::8888]",
        "[2003::1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::8.8.8.8]",
        "example.com",
    ] {
        configured(&to(&format!("https://{host}/")), "").expect(host);
    }
}

#[test]
fn what_is_listed_may_be_called_and_nothing_else() {
    for (list, host, allowed) in [
        ("10.1.2.3", "10.1.2.3", true),
        ("10.1.2.3", "0x0a.1.2.3", true),
        ("10.1.2.3", "[::ffff:10.1.2.3]", true),
        ("::ffff:10.1.2.3", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("0x0a.1.2.3", "10.1.2.3", true),
        ("10.1.2.3", "10.1.2.4", false),
        ("10.1.0.0/16, 192.168.7.0/24", "192.168.7.255", true),
        ("10.1.0.0/16, 192.168.7.0/24", "192.168.8.0", false),
        ("10.1.0.0/16", "[64:ff9b::10.1.0.1]", false),
        ("64:ff9b::/96", "[64:ff9b::10.1.0.1]", true),
        ("fd00::/8", "[fd12::1]", true),
        ("fd00::/8", "[fc12::1]", false),
        ("[::1]", "[::1]", true),
        ("billing.internal", "10.1.2.3", false),
        ("0.0.0.0/0", "127.0.0.1", true),
        ("0.0.0.0/0", "[::1]", false),
    ] {
        assert_eq!(configured(&to(&format!("http://{host}/")), list).is_ok(), allowed, "{list} {host}");
    }
    for list in ["10.0.0.0/33", "10.0.0.0/", "a b", "*", "*.internal", "http://10.0.0.1", "10.0.0.1:80", "::1/129", "."]
    {
        let faults = configured(&to("http://example.com/"), list).expect_err(list);
        assert!(faults.contains("which is neither; takes a list of addresses, networks and host names"), "{faults}");
    }
}
