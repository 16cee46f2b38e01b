--- What a grid asks: its definition comes in; its axes, and each cell by its number, go out. A cell is one prompt about
--- one picture to one model with one table of settings, asked for the nth time.
local clients = require "lmm.client"
local definitions = require "lmm.grid.definition"
local errors = require "lmm.errors"
local identity = require "lmm.grid.identity"
local images = require "lmm.grid.images"
local options = require "lmm.options"
local parts = require "lmm.part"
local settings = require "lmm.grid.settings"
local texts = require "lmm.text"

local plans = {}

local MOST_CELLS = 100000 -- a page of more is none that anybody opens

---@class lmm.GridModel
---@field name string?      as the server knows it; found out where nobody names it
---@field label string      for people
---@field client lmm.Client
---@field params table?     fields of its requests
---@field problem string?   why it cannot be asked

---@class lmm.GridNamed   what a name stands for
---@field connect table      options of lmm.connect, the same table for each model of a server
---@field model string?      the server's own name; nil: the first that it lists
---@field params table?

---@class lmm.GridPlan
---@field definition lmm.Grid
---@field path string?      of the file that it comes from
---@field title string
---@field prompts { name: string, prompt: lmm.GridPrompt, system: string? }[]
---@field images lmm.GridImage[]
---@field models lmm.GridModel[]
---@field settings { name: string, fields: table }[]
---@field repeats integer
---@field count integer     cells
local Plan = {}
Plan.__index = Plan

local function fail(format, ...)
  return nil, errors.new { kind = "invalid", message = format:format(...) }
end

-- ---- the axes ----------------------------------------------------------------------------------------------------

local MOST_NAME = 60 -- bytes of a prompt that has no name of its own

local function name_of(prompt, number)
  if type(prompt) ~= "string" then return ("prompt %d"):format(number) end
  return texts.line(prompt, MOST_NAME)
end

local function is_prompt(value)
  return type(value) == "function" or type(value) == "string" and value:find "%S" ~= nil
end

--- The places of a list in their order, and behind them the names.
local function sorted_keys(list)
  local keys = {}
  for key in pairs(list) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    local is_place, is_place_too = type(a) == "number", type(b) == "number"
    if is_place ~= is_place_too then return is_place end
    if is_place then return a < b end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local PROMPT = { name = "string|number", prompt = "string|function", system = "string" }

--- The prompts of a list and those that have names, or the only one.
local function find_prompts(given)
  local list, found = type(given) == "table" and given or { given }, {}
  for i, key in ipairs(sorted_keys(list)) do
    local item, name = list[key], type(key) ~= "number" and texts.line(tostring(key)) or nil
    local place = name and ("prompts: '%s'"):format(name) or ("prompts: number %s"):format(key)
    local entry = type(item) == "table" and item or { prompt = item }
    if not is_prompt(entry.prompt) then return fail("%s is no text and no function of the row", place) end
    local _, misuse = errors.try(options.check, place, PROMPT, entry)
    if misuse then return fail("%s", misuse) end
    found[i] = { name = tostring(entry.name or name or name_of(entry.prompt, i)), prompt = entry.prompt,
      system = entry.system }
  end
  return found
end

local function host_of(client)
  return (client.base_url:gsub("^%a+://", ""):gsub("/v%d+/*$", ""))
end

--- A client of a grid's own options.
---@return lmm.Client? client, string? problem
local function new_client(opts)
  local ok, client = pcall(clients.new, opts)
  if ok then return client end
  return nil, (definitions.place(nil, client):gsub("^[^\n]-:%d+: ", ""))
end

--- What makes the model of a name, or the one that is asked where none is named. Models of one server share a client.
---@param connect table|fun(name: string?): lmm.GridNamed
---@param prices table?
---@return fun(name: string?): lmm.GridModel?, string?
local function namer(connect, prices)
  local made = {}
  return function(name)
    local named = type(connect) == "function" and connect(name) or { connect = connect, model = name }
    local client = made[named.connect]
    if not client then
      local opts = {}
      for field, value in pairs(named.connect) do opts[field] = value end
      opts.prices = prices or opts.prices
      local problem
      client, problem = new_client(opts)
      if not client then return nil, problem end
      made[named.connect] = client
    end
    return { name = named.model or client.given_model, client = client, params = named.params,
      label = name ~= named.model and name or nil }
  end
end

--- The models of a list. Those that are only named, and the one where there is no list, are made by `by_name`.
local function find_models(given, by_name, prices)
  local list = type(given) == "table" and (given[1] ~= nil or next(given) == nil) and given or { given }
  local found = {}
  for i, item in ipairs(list) do
    local entry, client, problem
    if type(item) == "string" and item ~= "" then
      entry, problem = by_name(item)
      if not entry then return fail("%s", problem) end
    elseif type(item) == "table" and type(item.chat) == "function" then
      entry = { name = item.given_model, client = item }
    elseif type(item) == "table" then
      local label, opts = item.label, {}
      for name, value in pairs(item) do if name ~= "label" then opts[name] = value end end
      opts.prices = opts.prices or prices
      client, problem = new_client(opts)
      if not client then return fail("models: number %d: %s", i, problem) end
      entry = { name = client.given_model, client = client, label = label }
    else
      return fail("models: number %d is no name, no client and no table of options for lmm.connect", i)
    end
    found[i] = entry
  end
  if found[1] then return found end
  local first, problem = by_name(nil)
  if not first then return fail("%s", problem) end
  return { first }
end

--- Names the models for people: with their server where the same name stands for two.
local function label_models(models)
  local seen = {}
  for _, model in ipairs(models) do
    if model.name and not model.label then seen[model.name] = (seen[model.name] or 0) + 1 end
  end
  for _, model in ipairs(models) do
    if not model.label then
      local is_unique = model.name and seen[model.name] == 1
      model.label = is_unique and model.name or ("%s at %s"):format(model.name or "the first model",
        host_of(model.client))
    end
  end
end

--- Makes a plan; nobody is asked yet.
---@param definition lmm.Grid
---@param opts { path: string?, connect: table|(fun(name: string?): lmm.GridNamed)|nil }?  connect: options of
--- lmm.connect for models that are only named, or what says what a name stands for
---@return lmm.GridPlan? plan, lmm.Error? err
function plans.new(definition, opts)
  opts = opts or {}
  local self = setmetatable({ definition = definition, path = opts.path }, Plan)
  local err
  self.prompts, err = find_prompts(definition.prompts)
  if self.prompts then self.images, err = images.find(definition.images, definition.image) end
  if self.images then self.settings, err = settings.find(definition.settings) end
  local by_name = namer(opts.connect or {}, definition.prices)
  if self.settings then self.models, err = find_models(definition.models, by_name, definition.prices) end
  if not self.models then return fail("%s%s", opts.path and opts.path .. ": " or "", err.message) end
  self.repeats = definition.repeats or 1
  self.title = definition.title or opts.path and opts.path:match "[^/]*$":gsub("%.lua$", "") or "grid"
  self.count = #self.prompts * math.max(1, #self.images) * #self.models * #self.settings * self.repeats
  if self.count > MOST_CELLS then
    return fail("%sit has %.15g cells, more than the %d of one grid: for so many there is lmm batch",
      opts.path and opts.path .. ": " or "", self.count, MOST_CELLS)
  end
  return self
end

--- Asks the servers for the models that nobody named.
function Plan:find_models()
  for _, model in ipairs(self.models) do
    if not model.name then
      local list, message = model.client:models()
      model.name = list and list[1] and list[1].id
      if not model.name then
        model.problem = message or ("no model is named, and %s lists none"):format(model.client.base_url)
      end
    end
  end
  label_models(self.models)
end

-- ---- cells -------------------------------------------------------------------------------------------------------

---@class lmm.GridCell
---@field number integer
---@field prompt table, image lmm.GridImage?, model lmm.GridModel, setting table, turn integer
---@field at integer[]   its places on the axes: prompt, image, model, setting, turn

--- A cell by its number, from 1: the prompts change slowest, the repeats fastest.
---@return lmm.GridCell
function Plan:cell(number)
  local rest, at = number - 1, {}
  local sizes = { #self.prompts, math.max(1, #self.images), #self.models, #self.settings, self.repeats }
  for axis = 5, 1, -1 do
    at[axis] = rest % sizes[axis] + 1
    rest = math.floor(rest / sizes[axis])
  end
  return { number = number, at = at, prompt = self.prompts[at[1]], image = self.images[at[2]],
    model = self.models[at[3]], setting = self.settings[at[4]], turn = at[5] }
end

--- What a function of the grid's file is told of a cell.
---@return lmm.GridRow
function Plan:row(cell)
  local image = cell.image
  return { prompt = cell.prompt.name, image = image and (image.path or image.url or image.name),
    picture = image and image.part, model = cell.model.name or cell.model.label, settings = cell.setting.fields,
    number = cell.turn }
end

--- The content of a cell's question, and its text.
---@return table|string|nil content, string text_or_message
local function content_of(self, cell)
  local prompt = cell.prompt.prompt
  if type(prompt) == "function" then
    local ok, made = definitions.call(prompt, self:row(cell))
    if not ok then return nil, definitions.place(self.path, made) end
    if type(made) == "table" and made[1] ~= nil then
      local content, words = {}, {}
      for i, item in ipairs(made) do
        if not (type(item) == "string" or parts.is(item) or type(item) == "table" and item.type) then
          return nil, ("the function of '%s' returns a list of which item %d is %s, no text and no part"):format(
            cell.prompt.name, i, texts.shown(item))
        end
        content[i] = type(item) == "string" and { type = "text", text = item } or item
        words[i] = type(item) == "string" and item or parts.is(item) and ("(%s)"):format(item.kind) or "(...)"
      end
      return content, table.concat(words, "\n")
    elseif type(made) ~= "string" then
      return nil, ("the function of '%s' returns a %s, not a text or a list of parts"):format(cell.prompt.name,
        type(made))
    end
    prompt = made
  end
  if not cell.image then return prompt, prompt end
  return { { type = "text", text = prompt }, cell.image.make() }, prompt
end

--- What a cell asks.
---@return table? request, string text  or why it cannot be asked
function Plan:request(cell)
  local content, text = content_of(self, cell)
  if not content then return nil, text end
  local messages = { { role = "user", content = content } }
  local system = cell.prompt.system or self.definition.system
  if system then table.insert(messages, 1, { role = "system", content = system }) end
  local request = {}
  for _, fields in ipairs { cell.model.params or {}, self.definition.params or {}, cell.setting.fields } do
    for name, value in pairs(fields) do request[name] = value end
  end
  request.model, request.messages = cell.model.name, messages
  return request, text
end

--- What a cell is known again by.
---@param digests fun(part: lmm.Part): string
---@return string? key, string? message
function Plan:key(cell, digests)
  local request, message = self:request(cell)
  if not request then return nil, message end
  return identity.of({ server = cell.model.client.base_url, request = request, turn = cell.turn }, digests)
end

return plans
