--- Structured answers: the option that asks for one (`schema`, `choice`, `regex` or `grammar`) comes in; the fields
--- that say so to the server go out, in the form that its dialect has.
--
-- A dialect's `structured` says for each kind how it is written: names that lead to the field, as in
-- { "structured_outputs", "regex" }, or, where the server has nothing of the kind, a text that says what to give in its
-- place. { "response_format" } holds a JSON schema; a choice is made one by `as`: "string" for a text that is one of
-- them, "object" for an object that has this text as its field `choice`, since some servers take schemas of objects
-- alone. `heeds` names the fields of this sort that the server knows.
local errors = require "lmm.errors"
local schemas = require "lmm.schema"

local structured = {}

local SCHEMA = { "response_format" }
local STRING, OBJECT = { "response_format", as = "string" }, { "response_format", as = "object" }

local VLLM = {
  heeds = { structured_outputs = true },
  schema = SCHEMA,
  choice = { "structured_outputs", "choice" },
  regex = { "structured_outputs", "regex" },
  grammar = { "structured_outputs", "grammar" },
}

local SCHEMA_ALONE = "give a schema, which may hold a pattern"

--- What has JSON schemas and nothing else.
local function schemas_alone(choice)
  return { heeds = {}, schema = SCHEMA, choice = choice, regex = SCHEMA_ALONE, grammar = SCHEMA_ALONE }
end

--- For dialects that say nothing of it themselves.
local by_name = {
  vllm = VLLM,
  ["llama.cpp"] = { heeds = { grammar = true, json_schema = true }, schema = SCHEMA, choice = STRING,
    regex = "give a grammar (GBNF), or a schema with a pattern", grammar = { "grammar" } },
  sglang = { heeds = { regex = true, ebnf = true }, schema = SCHEMA, choice = STRING, regex = { "regex" },
    grammar = { "ebnf" } },
  ollama = schemas_alone(STRING),
  lmstudio = schemas_alone(OBJECT),
  openai = schemas_alone(OBJECT),
  azure = schemas_alone(OBJECT),
  mistral = schemas_alone(OBJECT),
  gemini = schemas_alone(OBJECT),
  openrouter = schemas_alone(OBJECT),
  litellm = schemas_alone(OBJECT),
}

--- Of a server that is not known: a schema is what most of them take, the rest is vLLM's.
local UNKNOWN = { schema = SCHEMA, choice = STRING, regex = VLLM.regex, grammar = VLLM.grammar }

--- Which option stands for a field that one server or another has.
local option_for = { structured_outputs = "choice, regex or grammar", regex = "regex", ebnf = "grammar",
  grammar = "grammar", json_schema = "schema" }

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
  local problem = schemas.problem(schema)
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

local function write(way, value)
  local name, inside = way[1], way[2]
  if name == "response_format" then
    return { [name] = { type = "json_schema", json_schema = { name = "answer", schema = as_schema(way.as, value) } } }
  end
  return { [name] = inside and { [inside] = value } or value }
end

local function refused(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

--- Refuses the fields of a request that this server would pass over without a word.
local function check_fields(request, dialect, ways)
  if not ways.heeds then return true end
  for name, option in pairs(option_for) do
    if request[name] ~= nil and not ways.heeds[name] then
      return refused("%s does not heed the field '%s': give the option %s, which lmm writes as that server has it",
        dialect.name, name, option)
    end
  end
  return true
end

local NOTHING = {}

--- The fields that say to the server what the answer is to be; none where nothing is asked for.
---@param asked { kind: string, value: any }?  see structured.asked
---@param request table  the caller's fields
---@param dialect { name: string, structured: table? }?  nil where the server is not known
---@return table? fields, lmm.Error? err  where the server has nothing of the kind
function structured.fields(asked, request, dialect)
  if not asked and not dialect then return NOTHING end
  local ways = dialect and (dialect.structured or by_name[dialect.name]) or UNKNOWN
  local ok, err = check_fields(request, dialect, ways)
  if not ok then return nil, err end
  if not asked then return NOTHING end
  local way = ways[asked.kind]
  if type(way) == "table" then return write(way, asked.value) end
  return refused("%s has no %s for answers: %s", dialect.name, asked.kind, way or SCHEMA_ALONE)
end

return structured
