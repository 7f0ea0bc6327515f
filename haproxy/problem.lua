-- HAProxy's own errors: a page for a browser, an RFC 9457 problem for other clients. Used as
-- %[lua.problem(503)]. The texts are those of nginx/problem.conf.

local TEXTS = { -- title and detail
  [400] = { "Bad Request", "The request is malformed. Check it, then try again." },
  [403] = { "Forbidden", "This is not allowed." },
  [404] = { "Not Found", "There is nothing at this address. Check the address." },
  [405] = { "Method Not Allowed", "This method is not allowed here. The header Allow lists the methods." },
  [408] = { "Request Timeout", "The request arrived too slowly. Check your connection, then try again." },
  [411] = { "Length Required", "The request has no length. Send Content-Length." },
  [413] = { "Content Too Large", "The request body is too large. Send less, or a smaller file." },
  [414] = { "URI Too Long", "The address is too long. Use a shorter one." },
  [416] = { "Range Not Satisfiable", "The requested range does not exist. Request the whole file." },
  [421] = { "Misdirected Request", "This site does not serve this host name. Check the name in the address." },
  [431] = { "Request Header Fields Too Large",
    "The request header is too large. Delete the cookies of this site, then try again." },
  [500] = { "Internal Server Error", "The load balancer failed. Try again in a moment." },
  [501] = { "Not Implemented", "The load balancer does not support this request. Send another one." },
  [502] = { "Bad Gateway", "The replica sent no valid answer. Try again in a moment." },
  [503] = { "Service Unavailable", "No replica is available. Try again in a moment." },
  [504] = { "Gateway Timeout", "No replica answered in time. Try again in a moment." },
}

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local PAGE = read("/etc/haproxy/page.html"):gsub("\n", " ") -- HAProxy would encode line ends

-- Returns the status for the client. HAProxy ends a streamed body with 400 for any reason: pace.lua
-- or the client's silence gives the true one. A read that timed out while the retry budget is spent
-- is a rejection (503).
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
  local title, detail = table.unpack(TEXTS[status])
  local id = txn:get_var("txn.id") or ""
  txn:set_var("txn.own", true)
  if txn:get_var("txn.browser") then
    local values = { status = status, title = title, detail = detail, id = id }
    return (PAGE:gsub("@(%l+)@", values))
  end
  return ('{"type":"about:blank","title":"%s","status":%d,"detail":"%s","request_id":"%s"}'):format(title, status, detail, id)
end)
