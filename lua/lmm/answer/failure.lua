--- What goes wrong while a reply is read, as the fields of an error: { kind, phase, reason or message, ... }.
local failure = {}

---@param kind "protocol"|"truncated"|"limit"
---@param reason string
function failure.new(kind, reason)
  return { kind = kind, phase = "receive", reason = reason }
end

--- The reply, or an event in it, is longer than it may be.
---@param limits table<string, integer>
---@param name "reply"|"event"
function failure.limit(limits, name)
  local what = name == "event" and "an event" or "the reply"
  return failure.new("limit", ("%s is longer than %d bytes (limits.%s)"):format(what, limits[name], name))
end

--- What the server says of itself (see lmm.answer.server_error): where it names no status, that of the reply counts.
---@param fields table
---@param status integer?
function failure.of_server(fields, status)
  fields.kind, fields.phase, fields.status = "http", "receive", fields.status or status
  return fields
end

return failure
