--- The head of a reply: its lines as they came go in, a table of headers comes out.
local texts = require "lmm.text"

local header = {}

--- The headers in a head, with names in lower case; a repeated one keeps all its values, joined by ", " (RFC 9110,
--- section 5.3). A line that is no header is passed over.
---@param text string  the status line and what follows it
---@return table<string, string>
function header.parse(text)
  local headers, repeated = {}, nil
  for spelled, value in text:gmatch "\n([^:\r\n]+):[ \t]*([^\r\n]*)" do
    local name = spelled:lower()
    local first = headers[name]
    value = texts.trim_right(value)
    if not first then
      headers[name] = value
    else -- joined at the end, so that the time is linear
      repeated = repeated or {}
      repeated[name] = repeated[name] or { first }
      table.insert(repeated[name], value)
    end
  end
  for name, values in pairs(repeated or {}) do headers[name] = table.concat(values, ", ") end
  return headers
end

return header
