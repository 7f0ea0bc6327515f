-- What HAProxy itself answers: a page for a browser, a problem (RFC 9457) for any other client.
-- Used as %[lua.problem(503)].

local TEXTS = { -- title, what happened, and for a page what to do
  [400] = { "Bad Request", "The request could not be understood.", "Check the address, or go back and try again." },
  [403] = { "Forbidden", "This is not allowed.", "Go back to where you came from." },
  [404] = { "Not Found", "There is nothing at this address.", "Check the address." },
  [405] = { "Method Not Allowed", "This method is not allowed.", "Go back and try again." },
  [408] = { "Request Timeout", "The request took too long to arrive.", "Check your connection, then try again." },
  [411] = { "Length Required", "The request does not say how long it is.", "Go back and try again." },
  [413] = { "Content Too Large", "The request body is larger than this site accepts.", "Send less, or a smaller file." },
  [414] = { "URI Too Long", "The address is longer than this site accepts.", "Use a shorter address." },
  [416] = { "Range Not Satisfiable", "There is no such part of it.", "Go back and try again." },
  [421] = { "Misdirected Request", "This site does not answer for that host name.", "Check the name in the address." },
  [431] = { "Request Header Fields Too Large", "The request header is larger than this site accepts.",
    "Delete the cookies of this site, then try again." },
  [500] = { "Internal Server Error", "The load balancer could not handle the request.", "Try again in a moment." },
  [501] = { "Not Implemented", "The load balancer does not know how to do that.", "Go back and try again." },
  [502] = { "Bad Gateway", "The replica gave no valid answer.", "Try again in a moment." },
  [503] = { "Service Unavailable", "No replica is available at the moment.", "Try again in a moment." },
  [504] = { "Gateway Timeout", "No replica answered in time.", "Try again in a moment." },
}

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local PAGE = read("/etc/haproxy/page.html"):gsub("\n", " ") -- HAProxy encodes the ends of lines

-- A body that is being passed on ends with 400, whatever is wrong with it: pace.lua, or the
-- client's silence, says more. A read that is given up while no second try may be made is a
-- refusal.
local function true_status(txn, status)
  if status == 400 then
    if txn.f:txn_sess_term_state():sub(1, 1) == "c" then
      txn:set_var("txn.refused", 408)
    end
    return txn:get_var("txn.refused") or status
  end
  if status == 504 and txn:get_var("txn.once") and txn:get_var("txn.read") then
    txn:set_var("txn.refused", 503)
    return 503
  end
  return status
end

core.register_fetches("problem", function(txn, status)
  status = true_status(txn, tonumber(status))
  local title, detail, advice = table.unpack(TEXTS[status])
  local id = txn:get_var("txn.id") or ""
  txn:set_var("txn.own", true)
  if txn:get_var("txn.browser") then
    local values = { status = status, title = title, detail = detail, advice = advice, id = id }
    return (PAGE:gsub("@(%l+)@", values))
  end
  return ('{"type":"about:blank","title":"%s","status":%d,"detail":"%s","request_id":"%s"}'):format(title, status, detail, id)
end)
