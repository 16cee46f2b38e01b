--- A multipart/form-data body (RFC 7578): its bytes and its type come in; its fields, in order, go out, or an error is
--- raised as vLLM's FastAPI words it.
local validation = require "lmm.mock.validation"

local multipart = {}

local function broken(why)
  validation.refuse(400, "There was an error parsing the body: " .. why)
end

local function read_head(head)
  local field = {}
  for line in (head .. "\r\n"):gmatch "(.-)\r\n" do
    local name, value = line:match "^([%w-]+): *(.*)$"
    if not name then broken "a header of a part is malformed" end
    name = name:lower()
    if name == "content-disposition" then
      field.name, field.filename = value:match '^form%-data; name="([^"]*)"', value:match '; filename="([^"]*)"$'
    elseif name == "content-type" then
      field.type = value
    end
  end
  return field.name and field or broken "a part has no name"
end

--- The fields of a body.
---@param body string
---@param content_type string
---@return { name: string, filename: string?, type: string?, value: string }[]
function multipart.read(body, content_type)
  local boundary = content_type:match '^multipart/form%-data; *boundary="?([^";]+)"?$'
  if not boundary then broken "Missing boundary in multipart." end
  local fields, delimiter = {}, "\r\n--" .. boundary
  if body:sub(1, #delimiter - 2) ~= delimiter:sub(3) then broken "it does not begin with its boundary" end
  local at = #delimiter - 1
  while body:sub(at, at + 1) == "\r\n" do
    local first, last = body:find("\r\n\r\n", at + 2, true)
    local stop, after = body:find(delimiter, last or #body, true)
    if not stop then broken "it ends within a part" end
    local field = read_head(body:sub(at + 2, first - 1))
    field.value = body:sub(last + 1, stop - 1)
    fields[#fields + 1] = field
    at = after + 1
  end
  if body:sub(at) ~= "--\r\n" then broken "it does not end with its boundary" end
  return fields
end

return multipart
