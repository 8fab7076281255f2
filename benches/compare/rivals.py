"""Varnish, Traffic Server and Squid: how they are configured and started."""

import os
import shutil
import subprocess
from pathlib import Path

from servers import Server


class Varnish(Server):
    """Content in memory. One thread for each connection, so there are many; the default timeouts of 600 s suit slow readers."""

    name = "varnish"
    has_tls = False
    keeps = False
    uses_page_cache = False

    def storage(self):
        return "malloc,6G"

    def configure(self):
        self.write("default.vcl", f"""
vcl 4.1;
backend origin {{
    .host = "127.0.0.1";
    .port = "{self.place.origin_port}";
    .first_byte_timeout = 60s;
    .between_bytes_timeout = 60s;
}}
sub vcl_recv {{ return (hash); }}
sub vcl_backend_response {{ set beresp.ttl = 1h; set beresp.do_stream = true; }}
""")

    def command(self):
        parameters = {"thread_pools": 2, "thread_pool_min": 200, "thread_pool_max": 4000, "thread_queue_limit": 2000, "send_timeout": 600, "timeout_idle": 300}
        flags = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
        work = self.directory
        return ["varnishd", "-F", "-j", "none", "-n", work / "work", "-a", f"127.0.0.1:{self.port}", "-f", work / "default.vcl", "-s", self.storage(), *flags]


class VarnishFile(Varnish):
    """Content in a mapped file: what Varnish has for more content than memory."""

    name = "varnish-file"

    def storage(self):
        return f"file,{self.directory}/storage,6G,1M"


class TrafficServer(Server):
    """The RAM cache takes what it sees the first time (`use_seen_filter` 0), also what is large: the disk is read past the page cache. Readers of
    a fill share it (read while writer)."""

    name = "traffic-server"
    uses_page_cache = False
    plugins = ""
    #: The largest object that the RAM cache takes, in bytes.
    cutoff = 4 << 30
    modules = "/usr/lib/trafficserver/modules"

    def configure(self):
        place, work = self.place, self.directory
        shutil.copytree("/etc/trafficserver", work / "etc", symlinks=False)
        for name in ("run", "logs", "cache"):
            (work / name).mkdir()
        os.chmod(work, 0o755)
        self.write("etc/storage.config", f"{work}/cache 12G\n")
        self.write("etc/remap.config", f"map / http://127.0.0.1:{place.origin_port}/ {self.plugins}\n")
        self.write("etc/ssl_multicert.config", f"dest_ip=* ssl_cert_name={place.certificate} ssl_key_name={place.key}\n")
        self.write("etc/plugin.config", "")
        settings = {
            "admin.user_id STRING": "#-1",
            "http.server_ports STRING": f"{self.port}:ipv4:ip-in=127.0.0.1 {self.tls_port}:ipv4:ssl:ip-in=127.0.0.1",
            "exec_thread.autoconfig INT": 0,
            "exec_thread.limit INT": 2,
            "accept_threads INT": 0,
            "cache.threads_per_disk INT": 8,
            "cache.ram_cache.size INT": 4 << 30,
            "cache.ram_cache_cutoff INT": self.cutoff,
            "cache.ram_cache.algorithm INT": 1,
            "cache.ram_cache.use_seen_filter INT": 0,
            "cache.min_average_object_size INT": 8000,
            "cache.enable_read_while_writer INT": 1,
            "cache.read_while_writer.max_retries INT": 100,
            "cache.read_while_writer_retry.delay INT": 10,
            "http.background_fill_active_timeout INT": 0,
            "http.background_fill_completed_threshold FLOAT": 0.0,
            "http.cache.max_open_read_retries INT": 500,
            "http.cache.open_read_retry_time INT": 10,
            "http.cache.open_write_fail_action INT": 5,
            "http.cache.required_headers INT": 0,
            "http.wait_for_cache INT": 1,
            "http.keep_alive_no_activity_timeout_in INT": 300,
            "http.transaction_no_activity_timeout_in INT": 300,
            "http.transaction_active_timeout_in INT": 0,
            "http.insert_response_via_str INT": 0,
            "http.response_server_enabled INT": 0,
            "http.per_server.connection.max INT": 0,
            "net.connections_throttle INT": 16000,
            "net.max_connections_in INT": 16000,
            "log.logging_enabled INT": 0,
            "ssl.TLSv1_3 INT": 1,
            "ssl.server.cert.path STRING": "/",
            "ssl.server.private_key.path STRING": "/",
            "plugin.plugin_dir STRING": self.modules,
            "url_remap.remap_required INT": 0,
            "dns.resolv_conf STRING": "/etc/resolv.conf",
        }
        self.write("etc/records.config", "".join(f"CONFIG proxy.config.{name} {value}\n" for name, value in settings.items()))

    def environment(self):
        work = self.directory
        paths = {"CONFIG_DIR": "etc", "LOCAL_STATE_DIR": "run", "LOG_LOGFILE_DIR": "logs"}
        return {"TS_ROOT": str(work)} | {f"PROXY_CONFIG_{name}": f"{work}/{path}" for name, path in paths.items()}

    def command(self):
        return ["traffic_server"]


class TrafficServerDisk(TrafficServer):
    """Large objects on disk only, as by default."""

    name = "traffic-server-disk"
    cutoff = 4 << 20


class TrafficServerSlices(TrafficServer):
    """1 MiB slices, each an object of its own: how Traffic Server shares ranges of what it does not have yet."""

    name = "traffic-server-slices"
    plugins = "@plugin=slice.so @pparam=--blockbytes=1048576 @plugin=cache_range_requests.so"


class Squid(Server):
    """Small content in memory, large on disk. `maximum_object_size_in_memory` stays far below `cache_mem`: Squid dies otherwise."""

    name = "squid"

    def configure(self):
        place, work = self.place, self.directory
        configuration = self.write("squid.conf", f"""
http_port 127.0.0.1:{self.port} accel defaultsite=origin no-vhost
https_port 127.0.0.1:{self.tls_port} accel defaultsite=origin no-vhost tls-cert={place.certificate} tls-key={place.key}
cache_peer 127.0.0.1 parent {place.origin_port} 0 no-query no-digest originserver name=origin
http_access allow all
cache_effective_user proxy
pid_filename {work}/pid
coredump_dir {work}
access_log none
cache_log {work}/cache.log
cache_store_log none
cache_mem 2 GB
memory_cache_shared off
maximum_object_size 4 GB
maximum_object_size_in_memory 128 MB
memory_replacement_policy heap GDSF
cache_dir aufs {work}/cache 12000 16 256
collapsed_forwarding on
range_offset_limit none
quick_abort_min -1 KB
client_db off
max_filedescriptors 16384
shutdown_lifetime 1 seconds
pinger_enable off
netdb_filename none
via off
forwarded_for delete
""")
        shutil.chown(work, "proxy")
        (work / "cache").mkdir()
        shutil.chown(work / "cache", "proxy")
        with (work / "log").open("ab") as log:
            subprocess.run(["squid", "-N", "-z", "-f", configuration], check=True, stdout=log, stderr=log)
        Path(work / "pid").unlink(missing_ok=True)

    def command(self):
        return ["squid", "-N", "-f", self.directory / "squid.conf"]

    def remove(self):
        # Killed, it would leave segments in /dev/shm.
        self.stop()
        super().remove()
