--- A chat with a reader that is handed in: lines come in; what was shown, and the session itself, go out.
local lmm = require "lmm"
local loop = require "lmm.cli.chat.loop"
local mock = require "lmm.mock"
local pictures = require "lmm.cli.chat.pictures"
local raw = require "spec.support.raw"
local replies = require "spec.support.replies"
local screens = require "lmm.cli.chat.screen"
local sessions = require "lmm.cli.chat.session"
local shell = require "spec.support.shell"

local unpack = table.unpack or unpack -- luacheck: ignore

local chat = {}

chat.HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
chat.END = replies.delta({}, "stop") .. replies.event "[DONE]"

--- The built-in server, and a folder that holds a picture, "a picture.png".
function chat.surroundings(picture)
  local folder = os.tmpname()
  os.remove(folder)
  shell.run("mkdir %s && cp %s %s/'a picture.png'", folder, picture, folder)
  return assert(mock.start { delay = 0 }), folder
end

--- A reader of these lines. A table in their place is a signal: { "sigint" }; a function is called, and gives a line.
local function reader_of(lines, opts)
  local at, reader = 0, { is_interactive = opts.is_interactive ~= false, remembered = {}, prompts = {} }
  function reader.read(_, prompt)
    at = at + 1
    reader.prompts[at] = prompt
    local line = lines[at]
    if type(line) == "function" then line = line() end
    if type(line) == "table" then return nil, line[1] end
    return line
  end
  function reader.lend(_, fn, ...) return fn(...) end
  function reader.remember(_, entry) table.insert(reader.remembered, entry) end
  return reader
end

---@class lmm.spec.Chat
---@field out string      what went to standard output
---@field said string     what went to standard error
---@field session lmm.chat.Session
---@field reader table    `remembered`, `prompts`
---@field ended string?   the signal that ended it

--- Has a chat with a server.
---@param url string
---@param lines any[]
---@param opts table?  is_interactive, is_terminal, term, no_color, columns, pictures; client: options of lmm.connect
---@return lmm.spec.Chat
function chat.run(url, lines, opts)
  opts = opts or {}
  local out, said = {}, {}
  local function connect(server)
    local options = { base_url = server, retry = false }
    for name, value in pairs(opts.client or {}) do options[name] = value end
    return lmm.connect(options)
  end
  local screen = screens.new { is_terminal = opts.is_terminal, term = opts.term or "xterm", no_color = opts.no_color,
    columns = opts.columns or 80, write = function(text) out[#out + 1] = text end,
    say = function(text) said[#said + 1] = text end }
  local client = connect(url)
  local session = sessions.new { uv = require "luv", client = client, chat = client:conversation(), screen = screen,
    clear = function() end,
    change = function(change) return change.server and { client = connect(change.server), fields = {} } end }
  session.pictures = pictures.new(screen, function(fn) return session:wait(fn) end, opts.pictures or "none")
  local reader = reader_of(lines, opts)
  if opts.on_session then opts.on_session(session) end
  local ended = loop.run(session, reader)
  session.client:close()
  return { out = table.concat(out), said = table.concat(said), session = session, reader = reader, ended = ended }
end

--- Asks a server that answers with these deltas.
---@param deltas (string|table)[]
---@param opts table?  as for `run`; more: the lines behind the question
---@return lmm.spec.Chat
function chat.answered(deltas, opts)
  local bytes = chat.HEAD
  for _, delta in ipairs(deltas) do bytes = bytes .. replies.delta(delta) end
  local server = raw.start { { { await = "request" }, { send = bytes .. chat.END } } }
  opts = opts or {}
  opts.client = { model = "m", dialect = "generic" }
  local ok, result = pcall(chat.run, server.url, { "q", unpack(opts.more or {}) }, opts)
  server:stop()
  return ok and result or error(result, 0)
end

--- The first items of a list.
function chat.first(list, n)
  local out = {}
  for i = 1, n do out[i] = list[i] end
  return out
end

--- How many questions the conversation of a session has.
function chat.count(session)
  local n = 0
  while session:chat():question(n + 1) do n = n + 1 end
  return n
end

return chat
