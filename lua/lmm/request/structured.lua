--- Structured answers: the option that asks for one (`schema`, `choice`, `regex` or `grammar`) comes in; the fields
--- that say so to the server go out, in the form that its dialect has.

---@class lmm.StructuredDialect  how a server is told what an answer is to be: for each kind the names that lead to the
--- field, as in { "structured_outputs", "regex" }; or, where it has nothing of the kind, what to give in its place.
--- { "response_format" } holds a JSON schema, which `as` makes of a choice: "string" for a text that is one of them,
--- "object" for an object that has this text as its field `choice`, as servers need that take schemas of objects alone
---@field heeds table<string, true>?  the fields of this sort that the server knows: others are refused
---@field schema string[]
---@field choice string[]
---@field regex string[]|string
---@field grammar string[]|string
local errors = require "lmm.errors"

local structured = {}

--- How a server of which nothing is known is told; see lmm.StructuredDialect.
structured.unknown = {
  schema = { "response_format" },
  choice = { "response_format", as = "string" },
  regex = { "structured_outputs", "regex" },
  grammar = { "structured_outputs", "grammar" },
}

--- What every server takes, or refuses; the others are passed over by many without a word.
local is_portable = { schema = true, choice = true }

--- What can be asked for by a field that one server or another has.
local kinds_of = { structured_outputs = { "schema", "choice", "regex", "grammar" }, regex = { "regex" },
  ebnf = { "grammar" }, grammar = { "grammar" }, json_schema = { "schema" } }

--- The kinds, in the order in which messages name them, and the types of their options.
structured.kinds = { "schema", "choice", "regex", "grammar" }
structured.rows = { schema = "table", choice = "table", regex = "string", grammar = "string" }

--- All names that say what form an answer is to have: one of them in a question stands against the conversation's.
structured.names = { "schema", "choice", "regex", "grammar", "response_format", "structured_outputs" }

-- ---- what is asked for

local function check_choice(choices)
  local seen, count = {}, 0
  for _ in pairs(choices) do count = count + 1 end
  if count == 0 then errors.misuse "choice is an empty list" end
  for i = 1, count do
    local text = choices[i]
    if type(text) ~= "string" or text == "" then
      errors.misuse("choice is a list of texts, and its item %d is %s", i, text == "" and "empty" or type(text))
    end
    if seen[text] then errors.misuse("choice holds '%s' twice", text) end
    seen[text] = true
  end
end

local function check_schema(schema)
  local problem = require "lmm.schema".problem(schema)
  if problem then errors.misuse("the schema is none: %s", problem) end
end

local checks = { schema = check_schema, choice = check_choice }

--- What the options of a request ask for, if anything; raises where that is not one thing, or not what it has to be.
---@param opts { schema: table?, choice: string[]?, regex: string?, grammar: string? }
---@param request table  whose own fields may say the same
---@return { kind: "schema"|"choice"|"regex"|"grammar", value: any }? asked
function structured.asked(opts, request)
  if not (opts.schema or opts.choice or opts.regex or opts.grammar) then return nil end
  local kind
  for _, name in ipairs(structured.kinds) do
    if opts[name] ~= nil then
      if kind then errors.misuse("%s and %s are two ways to say what the answer is to be: give one", kind, name) end
      kind = name
    end
  end
  for _, field in ipairs { "response_format", "structured_outputs" } do
    if request[field] then errors.misuse("%s and %s are two ways to say the same: give one", kind, field) end
  end
  local value = opts[kind]
  if value == "" then errors.misuse("%s is empty", kind) end
  if checks[kind] then checks[kind](value) end
  return { kind = kind, value = value }
end

-- ---- how it is written

local function as_schema(form, value)
  if form == nil then return value end
  local text = { type = "string", enum = value }
  if form == "string" then return text end
  return { type = "object", properties = { choice = text }, required = { "choice" }, additionalProperties = false }
end

local function refused(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

--- Why a server has nothing of a kind, and what to give in its place.
local function lack(ways, kind)
  return ("no %s for answers: %s"):format(kind, ways[kind] or "give a schema, which may hold a pattern")
end

--- What to give in the place of a field that a server does not heed.
local function advice(ways, kinds)
  local known = {}
  for _, kind in ipairs(kinds) do
    if type(ways[kind]) == "table" then known[#known + 1] = kind end
  end
  if #known == 0 then return "it has " .. lack(ways, kinds[1]) end
  local last = table.remove(known)
  return ("give the option %s, which lmm writes as that server has it"):format(
    #known == 0 and last or table.concat(known, ", ") .. " or " .. last)
end

--- Refuses the fields of a request that this server would pass over without a word.
local function check_fields(request, dialect, ways)
  for name, kinds in pairs(kinds_of) do
    if request[name] ~= nil and not ways.heeds[name] then
      return refused("%s does not heed the field '%s': %s", dialect.title or dialect.name, name, advice(ways, kinds))
    end
  end
  return true
end

--- Whether what is asked for is best written once the server is known.
---@param asked { kind: string, value: any }?
function structured.needs_dialect(asked)
  return asked ~= nil and not is_portable[asked.kind]
end

--- Adds to a request what says to the server what the answer is to be, in the place of what an earlier call has added.
---@param request table
---@param asked { kind: string, value: any }?  see structured.asked
---@param dialect lmm.Dialect?  nil where the server is not known: then schemas and choices are what most of them take,
--- the rest is vLLM's
---@return true? ok, lmm.Error? err  where the server has nothing of the kind
function structured.add(request, asked, dialect)
  if not asked and not dialect then return true end
  if asked then request.response_format, request.structured_outputs = nil, nil end
  local ways = dialect and dialect.structured
  if ways and ways.heeds then
    local ok, err = check_fields(request, dialect, ways)
    if not ok then return nil, err end
  end
  if not asked then return true end
  local way = (ways or structured.unknown)[asked.kind]
  if type(way) ~= "table" then
    return refused("%s has %s", dialect.title or dialect.name, lack(ways, asked.kind))
  end
  local name, inside = way[1], way[2]
  if name == "response_format" then
    request[name] = { type = "json_schema", json_schema = { name = "answer", schema = as_schema(way.as, asked.value) } }
  else
    request[name] = inside and { [inside] = asked.value } or asked.value
  end
  return true
end

return structured
