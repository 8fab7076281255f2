//! "How to point clients here": what to set on the clients, with this weir's own names and ports.

use std::fmt::{self, Write};

use crate::admin::{Listening, Status, page::Text};

/// Stands where a name should, while nobody has told weir its own.
const PLACEHOLDER: &str = "weir.branch.example";

pub(super) fn write(status: &Status, html: &mut String) -> fmt::Result {
    html.push_str(
        "<section id=\"guide\" aria-labelledby=\"guide-title\"><h2 id=\"guide-title\">How to point clients here</h2>\n",
    );
    if status.listening.is_empty() {
        html.push_str("<p class=\"empty\">weir listens nowhere yet.</p></section>\n");
        return Ok(());
    }
    listening(status, html)?;
    if let Some(way) = Way::to(status, "delivery") {
        delivery(&way, html)?;
    }
    if let Some(way) = Way::to(status, "wsus") {
        wsus(&way, html)?;
    }
    if let Some(way) = Way::to(status, "forward") {
        forward(&way, html)?;
    }
    if let Some(way) = Way::to(status, "reverse") {
        writeln!(
            html,
            "<h3>As the server itself</h3>\n<p>Use this address in place of the upstream's:</p>\n<pre>{}/</pre>",
            Text(&way.url())
        )?;
    }
    if let Some(way) = Way::to(status, "transparent") {
        transparent(&way, html)?;
    }
    html.push_str("</section>\n");
    Ok(())
}

/// How clients reach one door.
struct Way {
    /// A name or address, IPv6 in brackets.
    host: String,
    port: u16,
    tls: bool,
    /// Only programs on this machine get there.
    is_local: bool,
}

impl Way {
    /// The best socket that opens `door`: the plain standard port first, as Windows needs it for Delivery Optimization.
    fn to(status: &Status, door: &str) -> Option<Self> {
        let open = status.listening.iter().filter(|listening| listening.doors.iter().any(|open| open == door));
        let best =
            open.min_by_key(|listening| (listening.address.ip().is_loopback(), listening.tls, listening.address.port() != 80))?;
        Some(Self {
            host: host(status, best),
            port: best.address.port(),
            tls: best.tls,
            is_local: best.address.ip().is_loopback(),
        })
    }

    fn authority(&self) -> String {
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

fn host(status: &Status, listening: &Listening) -> String {
    let address = listening.address;
    if address.ip().is_unspecified() {
        return bracketed(status.reachable.first().map_or(PLACEHOLDER, String::as_str));
    }
    bracketed(&address.ip().to_string())
}

/// As it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

fn listening(status: &Status, html: &mut String) -> fmt::Result {
    html.push_str("<ul class=\"listening\">");
    for listening in &status.listening {
        let tls = if listening.tls { ", TLS" } else { "" };
        write!(html, "<li><code>{}</code>{tls}: {}</li>", listening.address, Text(&listening.doors.join(", ")))?;
    }
    html.push_str("</ul>\n");
    if status.reachable.is_empty() {
        writeln!(
            html,
            "<p>In place of <code>{PLACEHOLDER}</code> put the name or address by which clients reach this machine.</p>"
        )?;
    }
    Ok(())
}

fn delivery(way: &Way, html: &mut String) -> fmt::Result {
    let host = Text(&way.host);
    html.push_str("<h3>Windows: Delivery Optimization cache host</h3>\n");
    if way.is_local {
        html.push_str("<p class=\"alert\">This door is open on loopback only: clients cannot reach it yet.</p>\n");
    }
    if way.port != 80 || way.tls {
        writeln!(
            html,
            "<p class=\"alert\">Windows asks a cache host on port 80 only, and this door is open on port {}. \
             Add a <code>[[listen]]</code> for port 80.</p>",
            way.port
        )?;
    }
    writeln!(
        html,
        "<p>Group Policy: Computer Configuration › Administrative Templates › Windows Components › Delivery Optimization › \
         <b>Cache Server Hostname</b>: <code>{host}</code>. Or in the registry:</p>\n\
         <pre>reg add HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\DeliveryOptimization /v DOCacheHost /t REG_SZ /d {host} /f</pre>\n\
         <p>Or by DHCP: option 235, text, <code>{host}</code>, and on the clients <b>Cache Server Hostname Source</b> = 1:</p>\n\
         <pre>reg add HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\DeliveryOptimization /v DOCacheHostSource /t REG_DWORD /d 1 /f</pre>"
    )
}

fn wsus(way: &Way, html: &mut String) -> fmt::Result {
    let url = way.url();
    let url = Text(&url);
    writeln!(
        html,
        "<h3>Windows: in front of WSUS</h3>\n\
         <p>Group Policy: Windows Update › <b>Specify intranet Microsoft update service location</b>, both servers: <code>{url}</code>. \
         Or in the registry:</p>\n\
         <pre>reg add HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate /v WUServer /t REG_SZ /d {url} /f\n\
         reg add HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate /v WUStatusServer /t REG_SZ /d {url} /f\n\
         reg add HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\WindowsUpdate\\AU /v UseWUServer /t REG_DWORD /d 1 /f</pre>"
    )
}

fn forward(way: &Way, html: &mut String) -> fmt::Result {
    let (url, authority) = (way.url(), way.authority_with_port());
    let (url, authority) = (Text(&url), Text(&authority));
    writeln!(
        html,
        "<h3>As a proxy</h3>\n\
         <p>Programs that read the environment:</p>\n<pre>export http_proxy={url}</pre>\n\
         <p>Debian and Ubuntu, in <code>/etc/apt/apt.conf.d/01weir</code>:</p>\n<pre>Acquire::http::Proxy \"{url}\";</pre>\n\
         <p>Windows services:</p>\n<pre>netsh winhttp set proxy {authority}</pre>"
    )
}

impl Way {
    fn authority_with_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn transparent(way: &Way, html: &mut String) -> fmt::Result {
    html.push_str("<h3>By DNS</h3>\n");
    write!(
        html,
        "<p>Let the branch's DNS answer the origins' names (<code>download.windowsupdate.com</code>, \
         <code>*.dl.delivery.mp.microsoft.com</code>, …) with the address of <code>{}</code>, and give weir another resolver.",
        Text(&way.host)
    )?;
    if way.port != 80 {
        write!(html, " Clients will ask on port 80; this door is open on port {}.", way.port)?;
    }
    html.push_str("</p>\n");
    Ok(())
}
