--- A form: names with texts and parts come in; the pieces of a multipart/form-data body (RFC 7578) go out, with the
--- boundary between them. Names are escaped as browsers do it (WHATWG HTML, section 4.10.21.8).
local errors = require "lmm.errors"
local json = require "lmm.json"
local parts = require "lmm.part"
local types = require "lmm.types"

---@class lmm.Form
---@field fields { name: string, value: string|lmm.Part }[]  as they are sent, one after the other
local Form = {}
Form.__name = "lmm.Form"

local form = { metatable = Form }

function form.is(value)
  return getmetatable(value) == Form
end

--- Adds a field, or as many of its name as a list has items.
local function add(fields, name, value, in_list)
  if type(name) ~= "string" or name == "" then
    errors.misuse("lmm.form: the name of a field is a text, not %s",
      name == "" and "an empty one" or "a " .. type(name))
  end
  local kind = type(value)
  if parts.is(value) or kind == "string" then
    fields[#fields + 1] = { name = name, value = value }
  elseif kind == "boolean" then
    fields[#fields + 1] = { name = name, value = tostring(value) }
  elseif kind == "number" and value - value == 0 then
    fields[#fields + 1] = { name = name, value = json.encode(value) }
  elseif kind == "table" and not in_list and (value[1] ~= nil or next(value) == nil) then
    local count = 0
    for _ in pairs(value) do count = count + 1 end
    if count ~= #value then errors.misuse("lmm.form: '%s' is a list with holes or with names in it", name) end
    for _, item in ipairs(value) do add(fields, name, item, true) end
  else
    errors.misuse("lmm.form: '%s' is %s: texts, numbers, booleans, parts and lists of these are taken", name,
      kind == "number" and tostring(value) or "a " .. kind)
  end
end

--- Makes a form. See lmm.form.
---@param given table
---@return lmm.Form
function form.new(given)
  if type(given) ~= "table" or parts.is(given) then
    errors.misuse("lmm.form takes a table of fields, not a %s", type(given) == "table" and "part" or type(given))
  end
  local fields, names = {}, {}
  for i, pair in ipairs(given) do
    if type(pair) ~= "table" or parts.is(pair) or #pair ~= 2 then
      errors.misuse("lmm.form: item %d is no { name, value }", i)
    end
    add(fields, pair[1], pair[2])
  end
  for name in pairs(given) do
    if type(name) == "string" then
      names[#names + 1] = name
    elseif type(name) ~= "number" or name < 1 or name > #given or name % 1 ~= 0 then
      errors.misuse("lmm.form: %s is neither a name nor a place in a list", tostring(name))
    end
  end
  if #names > 0 and #given > 0 then
    errors.misuse("lmm.form: '%s' beside a list: names in a table, or a list of { name, value }", names[1])
  end
  table.sort(names)
  for _, name in ipairs(names) do add(fields, name, given[name]) end
  if #fields == 0 then errors.misuse "lmm.form has no fields: there is nothing to send" end
  return setmetatable({ fields = fields }, Form)
end

-- ---- the body

local ESCAPES = { ["\r"] = "%0D", ["\n"] = "%0A", ['"'] = "%22" }

local function escaped(name)
  return (name:gsub('[\r\n"]', ESCAPES))
end

--- Servers tell by its end what a file is, where they do not look at its bytes.
local function filename_of(part)
  return part.options.filename or part.filename or part.kind .. "." .. types.ending(part.mime)
end

--- What of a part goes into a form, or why it cannot.
---@return userdata? media, lmm.Error? err
local function media_of(name, part)
  local err = parts.check(part)
  if err then return nil, err end
  if part.media and not part.frames then return part.media end
  local why = part.frames and "the frames of the %s go in a chat alone"
    or part.url and "the %s is a URL, which only a chat's server fetches: read it and pass { bytes = ... }"
    or "the %s has no source"
  return nil, errors.new { kind = "invalid",
    message = ("the field '%s' of the form cannot be sent: %s"):format(name, why:format(part.kind)) }
end

--- The parts in a form.
---@param self lmm.Form
---@return lmm.Part[]
function form.parts(self)
  local list = {}
  for _, field in ipairs(self.fields) do
    if parts.is(field.value) then list[#list + 1] = field.value end
  end
  return list
end

--- What separates the fields: nobody who writes one of them can have guessed it.
local function new_boundary()
  local file = io.open("/dev/urandom", "rb")
  if file then file:setvbuf "no" end
  local bytes = file and file:read(20)
  if file then file:close() end
  if not bytes or #bytes < 20 then return nil end
  return "lmm-" .. bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)
end

--- The body's pieces, texts and media, one after the other.
---@param self lmm.Form
---@return (string|userdata)[]? pieces, lmm.Error|string err_or_boundary
function form.pieces(self)
  local boundary = new_boundary()
  if not boundary then
    return nil, errors.new { kind = "invalid", message = "a form needs a random boundary, and /dev/urandom gives none" }
  end
  local pieces = {}
  for _, field in ipairs(self.fields) do
    local name = field.name:gsub("\r\n?", "\n"):gsub("\n", "\r\n")
    local head = ('--%s\r\nContent-Disposition: form-data; name="%s"'):format(boundary, escaped(name))
    if type(field.value) == "string" then
      pieces[#pieces + 1] = head .. "\r\n\r\n" .. field.value .. "\r\n"
    else
      local media, err = media_of(field.name, field.value)
      if not media then return nil, err end
      local file = escaped(tostring(filename_of(field.value)))
      pieces[#pieces + 1] = ('%s; filename="%s"\r\nContent-Type: %s\r\n\r\n'):format(head, file, field.value.mime)
      pieces[#pieces + 1] = media
      pieces[#pieces + 1] = "\r\n"
    end
  end
  pieces[#pieces + 1] = "--" .. boundary .. "--\r\n"
  return pieces, boundary
end

return form
