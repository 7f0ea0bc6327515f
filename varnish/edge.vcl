# An edge cache that obeys the origin's headers as a CDN does (RFC 9111, RFC 5861), and purges
# (docs/cdn.md). entrypoint.sh writes the two included files.
vcl 4.1;

import purge;
import std;
import var;
import xkey;

include "backend.vcl"; # the running load balancer: `origin`, and `watched`, which only has the health probe
include "secret.vcl";  # purge_allowed

sub vcl_recv {
    if (local.socket == "inside") {
        call inside;
    }
    if (req.restarts == 0) {
        unset req.http.X-Edge; # internal: the stage of this request, refresh or failed
        call identify;
        # The load balancer trusts these headers of the edge. Varnish also appends the address to
        # X-Forwarded-For.
        set req.http.CF-Connecting-IP = client.ip;
        unset req.http.X-Forwarded-Proto; # all clients of the edge use http
    }
    call vcl_req_url;
    call vcl_req_host;
    if (req.method == "PURGE" || req.method == "TRACE" || req.method == "CONNECT" || req.method == "PRI") {
        return (synth(405));
    }
    # Brotli, gzip or neither: a URL has three variants, not one per browser.
    if (req.http.Accept-Encoding ~ "(?i)(^|,\s*)br\s*(;\s*q=(1|0\.0*[1-9])[^,]*)?(,|$)") {
        set req.http.Accept-Encoding = "br, gzip";
    } else if (req.http.Accept-Encoding ~ "(?i)(^|,\s*)gzip\s*(;\s*q=(1|0\.0*[1-9])[^,]*)?(,|$)") {
        set req.http.Accept-Encoding = "gzip";
    } else {
        unset req.http.Accept-Encoding;
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    std.collect(req.http.Cookie, "; ");
    # An authenticated client may get private answers. A client that has just written reads past
    # every cache.
    if (req.http.Authorization || req.http.X-Read-After || req.http.Cookie ~ "(^|;\s*)read_after=") {
        return (pass);
    }
    # Any other cookie: the origin gets it, and marks an answer as public only if no cookie was
    # read.
    set req.hash_always_miss = (req.http.X-Edge == "refresh");
    if (req.http.X-Edge == "refresh") {
        set req.grace = 0s;
    } else {
        set req.grace = 365d; # the answer's own limit counts; a restart keeps the old value, so it is set here
    }
    # Requests that wait for one fetch are served one after the other if it fails. So requests wait
    # only for a missing object while the origin is healthy.
    set req.hash_ignore_busy = (req.http.X-Edge == "refresh" || !std.healthy(watched));
    return (hash);
}

# The internal port: health, and purges of a URL (Host and path), of tags, or of everything.
sub inside {
    if (req.url == "/live" && req.method == "GET") {
        return (synth(200));
    }
    if (req.method != "PURGE") {
        return (synth(405));
    }
    call purge_allowed;
    # A purged object is stale from now on, and is served only if the origin fails: vcl_hit.
    var.global_set("purged", std.time2real(now, 0.0));
    std.collect(req.http.Surrogate-Key, " ");
    if (req.http.Surrogate-Key ~ "(^| )\*($| )") {
        var.global_set("all purged", std.time2real(now, 0.0));
        return (synth(200));
    }
    if (req.http.Surrogate-Key) {
        xkey.softpurge(req.http.Surrogate-Key);
        return (synth(200));
    }
    call vcl_req_host; # lower case, as in the key of the object
    set req.grace = 365d;
    set req.hash_ignore_busy = true;
    return (hash);
}

# Purges all variants of the URL.
sub purge_url {
    if (req.method == "PURGE") {
        purge.soft(0s);
        return (synth(200));
    }
}

# Keeps the caller's id if it is one valid value, else sets a new one.
sub identify {
    std.collect(req.http.X-Request-ID);
    if (req.http.X-Request-ID !~ "^[A-Za-z0-9._-]{1,128}$") {
        set req.http.X-Request-ID = "edge-" + std.time2integer(now, 0) + "-" + req.xid;
    }
}

# ── lookup ───────────────────────────────────────────────────────────────────────────────────────────
sub vcl_hit {
    call purge_url;
    if (now - obj.age > std.real2time(std.real(var.global_get("all purged"), 0.0), now)) {
        if (obj.ttl >= 0s) {
            set req.http.X-Edge-Status = "hit";
            return (deliver);
        }
        # Older than max-age: served while Varnish fetches a new one, within the origin's
        # stale-while-revalidate. Not after a purge since it expired, or in the second before: a
        # purge does not mark an object that is already stale.
        if (obj.ttl + std.duration(obj.http.X-Edge-Revalidate + "s", 0s) > 0s
            && now + obj.ttl - 1s > std.real2time(std.real(var.global_get("purged"), 0.0), now)) {
            set req.http.X-Edge-Status = "hit; detail=stale-while-revalidate";
            return (deliver);
        }
    }
    # Older, or purged: served only if the origin fails. While the origin is down, requests do not
    # wait for it: one background fetch at a time checks it.
    if (req.http.X-Edge == "failed" || !std.healthy(watched)) {
        if (obj.grace <= 0s) {
            return (pass); # a purge of everything left it, and the origin permits no stale answer
        }
        set req.http.X-Edge-Status = "hit; detail=stale-if-error";
        return (deliver);
    }
    set req.http.X-Edge = "refresh";
    return (restart);
}

sub vcl_miss {
    call purge_url;
    set req.http.X-Edge-Status = "fwd=miss";
}

sub vcl_pass {
    if (req.method == "PURGE") {
        return (synth(200)); # the edge caches nothing of it
    }
    set req.http.X-Edge-Status = "fwd=bypass";
}

# ── fetch ───────────────────────────────────────────────────────────────────────────────────────────
sub vcl_backend_fetch {
    unset bereq.http.X-Edge-Status;
}

sub vcl_backend_response {
    # Tags are internal to origin and edge. A 304 without tags keeps the object's tags.
    if (beresp.http.Cache-Tag) {
        set beresp.http.xkey = regsuball(beresp.http.Cache-Tag, "\s*,\s*", " ");
    } else if (beresp.http.Surrogate-Key || !beresp.was_304) {
        set beresp.http.xkey = beresp.http.Surrogate-Key;
    }
    unset beresp.http.Cache-Tag;
    unset beresp.http.Surrogate-Key;
    unset beresp.http.Surrogate-Control; # otherwise Varnish would ignore Cache-Control
    # CDN-Cache-Control overrides Cache-Control (RFC 9213).
    set beresp.http.X-Edge-Control = beresp.http.Cache-Control;
    if (beresp.http.CDN-Cache-Control) {
        set beresp.http.X-Edge-Control = beresp.http.CDN-Cache-Control;
        set beresp.ttl = std.duration(regsub(beresp.http.CDN-Cache-Control, "(?i)^(.*[, ])?max-age=(\d+).*$", "\2") + "s", 0s);
        unset beresp.http.CDN-Cache-Control;
    }
    if (bereq.uncacheable) {
        return (deliver);
    }
    if (beresp.status >= 500) {
        if (bereq.is_bgfetch || bereq.http.X-Edge == "refresh") {
            return (abandon); # the stale object stays and is served
        }
        call failed;
        return (deliver);
    }
    # A public answer: the headers about one request and one replica are removed.
    if (beresp.http.X-Edge-Control ~ "(?i)\bpublic\b" && !beresp.http.Set-Cookie
        && beresp.http.X-Edge-Control !~ "(?i)no-cache|no-store|private") {
        unset beresp.http.X-Request-ID;
        unset beresp.http.X-Served-By;
        unset beresp.http.X-Cache;
        unset beresp.http.X-Database;
        unset beresp.http.X-Database-Server;
        unset beresp.http.RateLimit;
        unset beresp.http.RateLimit-Policy;
    } else {
        call vcl_beresp_hitmiss; # an answer without `public` is not cached
    }
    # The longer of the two limits keeps the object beyond max-age; vcl_hit distinguishes them.
    unset beresp.http.X-Edge-Revalidate;
    set beresp.grace = 0s;
    if (beresp.http.X-Edge-Control ~ "stale-while-revalidate=\d+") {
        set beresp.http.X-Edge-Revalidate = regsub(beresp.http.X-Edge-Control, "^.*stale-while-revalidate=(\d+).*$", "\1");
        set beresp.grace = std.duration(beresp.http.X-Edge-Revalidate + "s", 0s);
    }
    if (beresp.http.X-Edge-Control ~ "stale-if-error=\d+") {
        set beresp.grace = std.duration(
            regsub(beresp.http.X-Edge-Control, "^.*stale-if-error=(\d+).*$", "\1") + "s", beresp.grace);
    }
    # Varnish's own rules follow: no caching with ttl 0, Set-Cookie, private, no-store, no-cache or
    # Vary: *.
}

# No stale object exists. The URL is uncacheable for a second, so that the waiting requests go to
# the origin at once, not one after the other.
sub failed {
    set beresp.uncacheable = true;
    set beresp.ttl = 1s;
    set beresp.grace = 0s;
}

sub vcl_backend_error {
    if (bereq.is_bgfetch || bereq.http.X-Edge == "refresh") {
        return (abandon);
    }
    set beresp.status = 503;
    set beresp.http.Content-Type = "application/problem+json";
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Retry-After = "1";
    call failed;
    set beresp.body = {"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The site does not answer. Try again in 1 s.","request_id":""} + bereq.http.X-Request-ID + {"""} + "}";
    return (deliver);
}

# ── delivery ────────────────────────────────────────────────────────────────────────────────────────
sub vcl_deliver {
    call range;
    set resp.http.X-Request-ID = req.http.X-Request-ID;
    set resp.http.Cache-Status = "edge; " + req.http.X-Edge-Status; # RFC 9211
    unset resp.http.xkey;
    unset resp.http.X-Edge-Control;
    unset resp.http.X-Edge-Revalidate;
    unset resp.http.X-Varnish;
    unset resp.http.Via;
}

# An impossible range gets the whole answer (RFC 9110, 14.2). Varnish's 416 would have the headers
# of the whole answer, and caches could store it.
sub range {
    if (req.method != "GET" || req.http.Range !~ "^bytes=([0-9]{1,15}-[0-9]{0,15}|-0*[1-9][0-9]{0,14})$" || !resp.http.Content-Length) {
        unset req.http.Range;
    } else if (req.http.Range !~ "=-") {
        # From the first to the last byte, or to the end.
        if (std.integer(regsub(req.http.Range, "^bytes=([0-9]+)-.*$", "\1"), 0)
            >= std.integer(resp.http.Content-Length, 0)) {
            unset req.http.Range;
        } else if (std.integer(regsub(req.http.Range, "^.*-", ""), 999999999999999)
            < std.integer(regsub(req.http.Range, "^bytes=([0-9]+)-.*$", "\1"), 0)) {
            unset req.http.Range;
        }
    }
}

sub vcl_synth {
    if (resp.status == 503 && req.http.X-Edge == "refresh") { # abandoned
        set req.http.X-Edge = "failed";
        return (restart);
    }
    set resp.http.Cache-Control = "no-store";
    unset resp.http.X-Varnish;
    unset resp.http.Via;
    if (resp.status == 200) {
        return (deliver);
    }
    set resp.http.Content-Type = "application/problem+json";
    if (req.http.X-Request-ID) {
        set resp.http.X-Request-ID = req.http.X-Request-ID;
    }
    set resp.body = {"{"type":"about:blank","title":""} + resp.reason + {"","status":"} + resp.status + {","detail":"The edge does not support this request. Send GET or HEAD.","request_id":""} + req.http.X-Request-ID + {"""} + "}";
    return (deliver);
}
