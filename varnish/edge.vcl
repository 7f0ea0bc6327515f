# An edge cache that does what a CDN does with the origin's headers (RFC 9111, RFC 5861), and
# purges. docs/cdn.md says what that is. The two files that are included are written by
# entrypoint.sh.
vcl 4.1;

import purge;
import std;
import var;
import xkey;

include "backend.vcl"; # the load balancer that runs: `origin`, and `watched`, which is asked whether it answers
include "secret.vcl";  # purge_allowed

sub vcl_recv {
    if (local.socket == "inside") {
        call inside;
    }
    if (req.restarts == 0) {
        unset req.http.X-Edge; # ours: how far the search for an answer has come
        call identify;
        # For the load balancer, which trusts the edge. Varnish has put the address at the end of
        # X-Forwarded-For as well.
        set req.http.CF-Connecting-IP = client.ip;
        unset req.http.X-Forwarded-Proto; # here all come by http
    }
    call vcl_req_url;
    call vcl_req_host;
    if (req.method == "PURGE" || req.method == "TRACE" || req.method == "CONNECT" || req.method == "PRI") {
        return (synth(405));
    }
    # Brotli, gzip or neither, so that a URL has three variants, not one for each browser.
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
    # Whoever shows who he is may be shown his own. Whoever has just written reads past every cache.
    if (req.http.Authorization || req.http.X-Read-After || req.http.Cookie ~ "(^|;\s*)read_after=") {
        return (pass);
    }
    # Any other cookie: the origin has seen the cookies of the request that an answer was made for,
    # and calls an answer public only if it looked at none of them.
    set req.hash_always_miss = (req.http.X-Edge == "refresh");
    if (req.http.X-Edge == "refresh") {
        set req.grace = 0s;
    } else {
        set req.grace = 365d; # as much as the answer has; a restart would leave it as it was
    }
    # Who waits for another's fetch that fails then makes his own, one after the other. So nobody
    # waits for one that may well fail; a fetch that all wait for is for what is not there, while
    # the origin answers.
    set req.hash_ignore_busy = (req.http.X-Edge == "refresh" || !std.healthy(watched));
    return (hash);
}

# What is not published: health, and purges of a URL (as Host and path), of tags, or of everything.
sub inside {
    if (req.url == "/live" && req.method == "GET") {
        return (synth(200));
    }
    if (req.method != "PURGE") {
        return (synth(405));
    }
    call purge_allowed;
    # What is purged is stale from now on, and shown only if nothing else is to be had: vcl_hit.
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
    call vcl_req_host; # in lower case, as in the name that the answer is kept by
    set req.grace = 365d;
    set req.hash_ignore_busy = true;
    return (hash);
}

# The URL, in all its variants.
sub purge_url {
    if (req.method == "PURGE") {
        purge.soft(0s);
        return (synth(200));
    }
}

# The caller's id if it is one valid value, else ours.
sub identify {
    std.collect(req.http.X-Request-ID);
    if (req.http.X-Request-ID !~ "^[A-Za-z0-9._-]{1,128}$") {
        set req.http.X-Request-ID = "edge-" + std.time2integer(now, 0) + "-" + req.xid;
    }
}

# ── what is there ───────────────────────────────────────────────────────────────────────────────────
sub vcl_hit {
    call purge_url;
    if (now - obj.age > std.real2time(std.real(var.global_get("all purged"), 0.0), now)) {
        if (obj.ttl >= 0s) {
            set req.http.X-Edge-Status = "hit";
            return (deliver);
        }
        # Older than max-age: shown while it is fetched, if the origin allows that for so long; and
        # if nothing was purged since it has become so, or in the second before: what was purged is
        # stale from about that moment, and a purge leaves what is stale as it is.
        if (obj.ttl + std.duration(obj.http.X-Edge-Revalidate + "s", 0s) > 0s
            && now + obj.ttl - 1s > std.real2time(std.real(var.global_get("purged"), 0.0), now)) {
            set req.http.X-Edge-Status = "hit; detail=stale-while-revalidate";
            return (deliver);
        }
    }
    # Older than that, or purged: only if nothing else is to be had. While the origin is known to be
    # away no caller waits to learn that again: it is asked in the background, once at a time.
    if (req.http.X-Edge == "failed" || !std.healthy(watched)) {
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
        return (synth(200)); # nothing of it is kept
    }
    set req.http.X-Edge-Status = "fwd=bypass";
}

# ── what comes ──────────────────────────────────────────────────────────────────────────────────────
sub vcl_backend_fetch {
    unset bereq.http.X-Edge-Status;
}

sub vcl_backend_response {
    # Tags are between the origin and the edge. A 304 without any leaves those that are there.
    if (beresp.http.Cache-Tag) {
        set beresp.http.xkey = regsuball(beresp.http.Cache-Tag, "\s*,\s*", " ");
    } else if (beresp.http.Surrogate-Key || !beresp.was_304) {
        set beresp.http.xkey = beresp.http.Surrogate-Key;
    }
    unset beresp.http.Cache-Tag;
    unset beresp.http.Surrogate-Key;
    unset beresp.http.Surrogate-Control; # or the rules below would not look at Cache-Control
    # What is said to caches like this one counts for more than what is said to browsers too (RFC
    # 9213).
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
            return (abandon); # what is stale stays, and is shown
        }
        call failed;
        return (deliver);
    }
    # The answer to no one in particular: what says who asked, and who answered, is the first
    # caller's.
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
        call vcl_beresp_hitmiss; # what is not said to be everybody's is not kept
    }
    # The longer of the two is how long it is kept beyond max-age; vcl_hit tells them apart.
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
    # What follows is Varnish's own: not kept with ttl 0, Set-Cookie, private, no-store, no-cache,
    # or Vary: *.
}

# There is nothing stale here that this could hide. For a second the URL is known to be uncacheable,
# so that those who have waited for this answer ask at once, and not one after the other.
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
    set beresp.body = {"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The site does not answer at the moment.","request_id":""} + bereq.http.X-Request-ID + {"""} + "}";
    return (deliver);
}

# ── what goes out ───────────────────────────────────────────────────────────────────────────────────
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

# What cannot be had in part is had whole (RFC 9110, 14.2): a 416 of Varnish's would bear the
# headers of the whole answer, by which browsers and other caches could keep it.
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
    set resp.body = {"{"type":"about:blank","title":""} + resp.reason + {"","status":"} + resp.status + {","detail":"The edge does not do that.","request_id":""} + req.http.X-Request-ID + {"""} + "}";
    return (deliver);
}
