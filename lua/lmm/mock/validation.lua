--- What is wrong with a request, in vLLM's words: the place and what was found there come in; an error is raised,
--- { status, message, type?, param? }, which `try` catches where the reading of the request began.
local json = require "lmm.json"

local validation = {}

validation.DICTIONARY = "Input should be a valid dictionary or object to extract fields from"

--- What `fn` returns, or nil and the problem that it raised by one of the functions below.
function validation.try(fn)
  local ok, result = pcall(fn)
  if ok then return result end
  if type(result) ~= "table" then error(result, 0) end
  return nil, result
end

--- Raises a problem: the request is answered with this error.
---@param fields { type: string?, param: string? }?
function validation.refuse(status, message, fields)
  local problem = fields or {}
  problem.status, problem.message = status, message
  error(problem, 0)
end

--- A value, or nil for null.
function validation.given(value)
  if value == json.null then return nil end
  return value
end

function validation.is_list(value)
  return type(value) == "table" and (value[1] ~= nil or next(value) == nil)
end

--- A value as the messages of pydantic show it.
function validation.show(value)
  if type(value) == "table" then
    local count = 0
    for _ in pairs(value) do count = count + 1 end
    return string.format("<%s of %d items>", value[1] ~= nil and "list" or "dict", count)
  end
  if type(value) == "boolean" then return value and "True" or "False" end
  if type(value) == "number" then return string.format("%.14g", value) end
  return validation.given(value) or "None"
end

-- Text in quotes as Python writes it.
local function quote(text)
  if text:find("'", 1, true) and not text:find('"', 1, true) then return '"' .. text .. '"' end
  return "'" .. text:gsub("'", "\\'") .. "'"
end

--- The body has not the form that the API's schema asks for. The message has several lines, as pydantic writes it;
--- where pydantic lists all that would have been allowed, only the first stands here.
function validation.malformed(param, kind, what, found)
  local place = param and "body." .. param or "body"
  local message = string.format("1 validation error:\n  {'type': '%s', 'loc': '%s', 'msg': %s, 'input': %s}", kind,
    place, quote(what), quote(validation.show(found)))
  validation.refuse(400, message, { type = "Bad Request", param = place })
end

--- None of these fields is there, and one of them must be.
function validation.missing(names, found)
  local lines = { #names .. " validation errors:" }
  for i, name in ipairs(names) do
    lines[i + 1] = string.format("  {'type': 'missing', 'loc': 'body.%s', 'msg': 'Field required', 'input': '%s'}",
      name, validation.show(found))
  end
  validation.refuse(400, table.concat(lines, "\n"), { type = "Bad Request", param = "body." .. names[1] })
end

-- For what lua-cjson found missing, what Python's parser says instead. Both stop at the same place, but for a string
-- without an end, where Python's tells the beginning.
local JSON_PROBLEMS = {
  { "^Expected .* invalid escape", "Invalid \\\\escape" },
  { "^Expected .* end of string", "Unterminated string starting at" },
  { "^Expected value", "Expecting value" },
  { "^Expected object key", "Expecting property name enclosed in double quotes" },
  { "^Expected colon", "Expecting ':' delimiter" },
  { "^Expected comma", "Expecting ',' delimiter" },
  { "^Expected the end", "Extra data" },
}

--- Not the library's own reader: what is sent is held against another.
local decoder = require("cjson").new()
decoder.decode_invalid_numbers(false)

--- The decoded body of a request.
function validation.read_body(text)
  if text == "" then validation.malformed(nil, "missing", "Field required") end
  local ok, body = pcall(decoder.decode, text)
  if ok then return body end
  local message = tostring(body)
  local _, offset = text:sub(1, (tonumber(message:match "at character (%d+)$") or 1) - 1):gsub("[^\128-\191]", "")
  local why = "Expecting value"
  for _, row in ipairs(JSON_PROBLEMS) do
    if message:find(row[1]) then
      why = row[2]
      break
    end
  end
  local place = "body." .. offset
  local problem = string.format("{'type': 'json_invalid', 'loc': '%s', 'msg': 'JSON decode error', 'input': "
    .. "'<dict of 0 items>', 'ctx': {'error': %s}}", place, quote(why))
  validation.refuse(400, "1 validation error:\n  " .. problem, { type = "Bad Request", param = place })
end

--- A part has not that form. vLLM finds out later, when it looks at the parts, and says it in another way.
function validation.malformed_part(type_name, place, kind, what)
  validation.refuse(400, string.format("1 validation error for %s\n%s\n  %s [type=%s]\n    For further information "
    .. "visit https://errors.pydantic.dev/2.14/v/%s", type_name, place, what, kind, kind))
end

--- A value that the model's own checks refuse; `value` is shown where vLLM shows it.
function validation.refuse_field(name, message, value)
  local shown = value ~= nil and ", value=" .. value or ""
  validation.refuse(400, string.format("%s (parameter=%s%s)", message, name, shown), { param = name })
end

return validation
