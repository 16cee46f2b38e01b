-- What `make oom` runs: the name of a scenario comes in; a function that judges, and the scenario's own, go out.
--
-- The scenario's function runs while allocations fail. What pcall would give of it is then judged: it went well, or it
-- gave nil, a message and an error object, or it raised. After that, memory is there again, and everything must work.

local name, url = ..., _G.url -- luacheck: ignore

local QUESTION = "What is shown?"
local OPTIONS = { timeout = 30, retry = false, dialect = "generic" }

-- A part that is small enough to be sent with the head, and one that is pulled.
local SMALL = "spec/media/picture.png"
local LARGE = { bytes = "\137PNG\r\n\26\n\0\0\0\rIHDR\0\0\0\8\0\0\0\8" .. ("\0"):rep(80000) }
local UNCHECKED = { check = false } -- they have no end

local function connect(more)
  local lmm = require "lmm"
  local opts = { base_url = url }
  for key, value in pairs(OPTIONS) do opts[key] = value end
  for key, value in pairs(more or {}) do opts[key] = value end
  return lmm.connect(opts)
end

-- Everything that the other scenarios need, so that they begin with the client.
local function load_all()
  for _, module in ipairs {
    "lmm", "lmm.client", "lmm.conversation", "lmm.loop.gather", "lmm.part", "lmm.transport.curl", "lmm.transport.tcp",
    "lmm.request.dialects", "lmm.request.content", "lmm.json", "lmm.loop.blocking",
  } do require(module) end
  require("lmm.loop").current()
end

local client

local scenarios = {}

-- The model is asked for first, so this is two exchanges on one connection.
function scenarios.ask()
  local lmm = require "lmm"
  client = connect()
  return client:conversation { system = "Be brief." }:ask(QUESTION, lmm.image(SMALL, UNCHECKED), lmm.image(LARGE,
    UNCHECKED))
end

-- The same over plain TCP, without libcurl.
function scenarios.tcp()
  require("lmm.loop").current().transport = "tcp"
  return scenarios.ask()
end

-- All that writes JSON, large and small, with media, by hooks and beside what was written before.
function scenarios.write()
  local core = require "lmm.core"
  local kind, media = {}, assert(core.media(SMALL))
  local options = { hooks = { [kind] = function(value) return { value[1], core.embed("data:", media) } end } }
  local list = { ("x\n"):rep(2000), 0.1 + 0.2, 2 ^ 53, core.null, setmetatable({}, core.array_mt) }
  for i = 6, 60 do list[i] = setmetatable({ "\195\164" .. i }, kind) end
  local inner = assert(core.write(list, options))
  local body = assert(core.write({ a = inner, b = { inner, QUESTION } }, options):with("model", { "m" }))
  assert(core.write { a = { b = { "\255" } } } == nil)
  return assert(core.encode { body })
end

-- The host's name is looked up, in a thread of libcurl's.
function scenarios.stream()
  local lmm = require "lmm"
  client = connect { base_url = url:gsub("127%.0%.0%.1", "localhost"), model = "mock" }
  local stream = client:conversation():stream(QUESTION, lmm.image(SMALL, UNCHECKED))
  local pieces = {}
  while true do
    local piece, message, err = stream:next()
    if not piece and message then return nil, message, err end
    if not piece then return table.concat(pieces) end
    pieces[#pieces + 1] = piece
  end
end

-- A picture that the server keeps: hashed while it is sent, then named by its uuid.
function scenarios.kept()
  local lmm = require "lmm"
  client = connect { dialect = "vllm", model = "mock" }
  local chat = client:conversation()
  local reply, message, err = chat:ask(QUESTION, lmm.image(SMALL, UNCHECKED))
  if not reply then return nil, message, err end
  return chat:ask(QUESTION)
end

function scenarios.gather()
  local lmm = require "lmm"
  client = connect { model = "mock" }
  local function ask() return client:conversation():ask(QUESTION, lmm.image(SMALL, UNCHECKED)) end
  local results, failures, err = lmm.gather { ask, ask }
  if not results then return nil, failures, err end
  local failure = failures[1] or failures[2]
  if failure then return nil, failure.message, failure end
  return results[1] .. results[2]
end

-- All that makes values of JSON, and keeps a reply's bytes.
function scenarios.read()
  local core = require "lmm.core"
  local answer = core.answer { reply = 1e6, event = 1e5, depth = 2000 }
  local first = '{"id":"x","choices":[{"index":0,"delta":{"content":"\\ud83d"},"logprobs":[1.5,null,true]}]}'
  answer:feed("data: " .. first:gsub(",", ",\ndata: ") .. "\n\nevent: x\ndata: [" .. ("["):rep(60) .. ("]"):rep(61))
  answer:feed(("\n\ndata: " .. first:gsub(',"logprobs.-%]', "")):rep(4) .. "\n\n")
  local pieces = {}
  while true do
    local what, piece = answer:next(true)
    if not what then break end
    pieces[#pieces + 1] = what == "text" and piece or nil
    assert(answer:value())
    assert(answer:exact())
  end
  answer:append("reasoning", ("x"):rep(1000))
  answer:finish()
  assert(#answer:raw() == 6 and #answer:text() > 0)
  local long = assert(core.decode('["' .. ("\\u00e4"):rep(2000) .. '",' .. ("9"):rep(900) .. "]"))
  assert(core.decode "[1" == nil)
  return core.join { QUESTION, table.concat(pieces), long[1] }
end

-- A value that grows, with all that a text may hold.
function scenarios.grow()
  local core = require "lmm.core"
  local text = '```json\n{"rows":[1,{"a":[],"b":"' .. ("\\u00e4x"):rep(300) .. '"},null,-2.5e3,true],"q":"' .. QUESTION
    .. '"}\n```'
  local grower = core.grow { path = { "rows" } }
  for i = 1, #text, 37 do grower:feed(text:sub(i, i + 36)) end
  grower:finish()
  assert(grower:failure() == nil and select(2, grower:list()) == 5)
  local cut = core.grow()
  cut:feed "[1,"
  cut:finish()
  assert(cut:failure())
  return grower:value().q
end

-- A first ask with all that it loads.
scenarios.load = function()
  client = connect { model = "mock" }
  return client:conversation():ask(QUESTION)
end

if name ~= "load" then load_all() end

local function check_answer(answer)
  assert(answer, "no answer")
  assert(tostring(answer):find(QUESTION, 1, true), "a wrong answer: " .. tostring(answer))
end

-- Lua 5.1 never loads a module again of which a raise has broken off the loading, and leaves a mark in its place.
local function forget_broken_modules()
  for module, value in pairs(package.loaded) do
    if type(value) == "userdata" then package.loaded[module] = nil end
  end
end

local function judge(ok, value, message, err)
  forget_broken_modules()
  if ok and value ~= nil then
    check_answer(value)
  elseif ok then
    local known = require "lmm.errors"
    assert(type(message) == "string" and known.is(err) and err.message == message, "nil without an error object")
    -- libcurl tells some lack of memory as a host that it cannot find. Nothing is laid upon the request or the reply.
    assert(err.kind == "connect" or message:find "not enough memory", "a lack of memory told as: " .. message)
  else
    local text = tostring(value)
    assert(text:find "not enough memory" or text:find "[Oo]ut of memory", "raised: " .. text)
  end
  if client then check_answer(assert(client:conversation():ask(QUESTION))) end
  check_answer(assert(connect({ model = "mock" }):conversation():ask(QUESTION)))
end

return judge, scenarios[name]
