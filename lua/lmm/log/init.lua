--- The log of what was asked: exchanges come in, and stay in an SQLite database; they go out again by id, by words, by
--- picture, by chat, and by what they ask, so that the same request need not be sent twice.
---
---     local log = assert(require("lmm.log").open "log.db")
---     local id = log:add { kind = "chat/completions", server = url, model = "m", request = request, reply = reply }
---     for _, row in ipairs(log:list { search = "telescope", limit = 10 }) do print(row.id, row.question) end
---
--- Media are named by their SHA-256, and never stand in the database: it knows the path of their file, or, with
--- `media = true`, keeps their bytes as files beside it. No key and no header comes in. Many processes may write at
--- once.
---
--- What fails gives nil and an error, as everywhere inside the library; nothing here raises but for misuse.
local errors = require "lmm.errors"
local options = require "lmm.options"

--- One exchange, as it is added.
---@class lmm.Exchange
---@field kind string?      the endpoint, "chat/completions" unless given, as in "embeddings"
---@field request table     the fields as they were sent, `messages` among them; parts may stand anywhere in it
---@field server string     the server's base URL
---@field model string?     that was asked
---@field reply table?      a lmm.Reply, or what has some of its fields: `message`, `text`, `reasoning`, `tool_calls`,
--- `finish_reason`, `usage`, `cost`, `id`, `model`, `request_id`, `attempts`
---@field err lmm.Error?    in the place of the reply; `err.partial` is kept, too
---@field time number?      when it began: seconds since 1970 (now)
---@field first_token number?  seconds
---@field total number?     seconds
---@field cost number?      that of the reply unless given
---@field key string?       by which `find` finds it (that of log.key)
---@field options table?    lmm's own that go with the request: `schema`, `choice`, `regex` or `grammar`
---@field cached boolean?   the answer came from the log

--- One exchange, as it is read. In its `request` and its `reply` stand parts in the place of media.
---@class lmm.LoggedExchange
---@field id integer
---@field chat integer      the id of the exchange that began its conversation: its own, where it is the first
---@field kind string
---@field time number       when it began: seconds since 1970
---@field server string
---@field model string?     that was asked
---@field question string   the texts of the last message, a line each
---@field media_count integer?  how many media stand in that message
---@field answer string     the text of the answer, or of what had come of it
---@field first_token number?
---@field total number?
---@field prompt_tokens integer?
---@field completion_tokens integer?
---@field cost number?
---@field finish_reason string?
---@field error string?     the message, where it failed
---@field cached boolean?   it was answered from the log
---@field key string?
---@field request table?    the fields that were sent; of `get` and `find` alone, and so are the rest
---@field options table?    lmm's own that went with the request: `schema` and the like
---@field reply table?      `message`, `text`, `reasoning`, `finish_reason`, `usage`, `id`, `model`, `attempts`, ...
---@field err table?        `kind`, `message`, `status`, `code`, `type`, `param`, `hint`, `attempts`, `elapsed`,
--- `partial`
---@field media lmm.LoggedMedium[]?  of the request and the reply, in their order

---@class lmm.LoggedMedium
---@field sha256 string     of the bytes of the file, or of those that were given
---@field kind string       "image", "video", "audio" or "file"
---@field mime string?
---@field size integer?     bytes
---@field width integer?
---@field height integer?
---@field path string?      where its file was seen last, or is kept

--- Which exchanges are meant: those of which all of it holds.
---@class lmm.LogFilter
---@field limit integer?   at most so many, the last ones (all)
---@field search string?   words that question or answer hold; their beginnings are enough
---@field image string?    the path, or the SHA-256, of a medium that was asked about
---@field model string?    of this model
---@field chat integer?    of the conversation to which the exchange with this id belongs
---@field before integer?  before the exchange with this id
---@field older number?    before this time, in seconds since 1970
---@field failed boolean?  only those that failed, or only those that did not

--- What a request is sent to, for its key.
---@class lmm.LogKeyOptions
---@field server string    its base URL
---@field model string?    where the request names none
---@field kind string?     the endpoint, "chat/completions" unless given
---@field options table?   lmm's own that go with it: `schema` and the like
---@field salt string?     tells apart what should not be taken for the same, as the third try of a question

---@class lmm.LogOptions
---@field media boolean?   the bytes of media are kept, too, in the folder PATH.media
---@field wait number?     seconds for another process that writes (5)
---@field create boolean?  false: it is not made where it is not there

--- What is to be forgotten: one of these.
---@class lmm.PruneOptions
---@field older number?    what is older than so many seconds
---@field id integer?      one exchange
---@field all boolean?     everything

---@class lmm.Log
---@field path string  of its database
local Log = {}
Log.__index = Log
Log.__name = "lmm.Log"

local log = {}

--- A module of this room that is needed only now: SQLite is loaded with the first log.
local function the(name)
  return require("lmm.log." .. name)
end

local opened = setmetatable({}, { __mode = "k" }) -- logs that are open

local OPEN = { media = "boolean", wait = "number", create = "boolean" }

--- Opens a log, and makes it where it is not there: a file that its owner alone can read.
---@param path string
---@param opts lmm.LogOptions?
---@return lmm.Log? log, lmm.Error? err  which says what is wrong: locked, damaged, of a newer lmm, ...
function log.open(path, opts)
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then
    errors.misuse("log.open takes a path, not %s", type(path) == "string" and "such a text" or "a " .. type(path))
  end
  opts = options.check("log.open", OPEN, opts)
  local database, err = the("database").open(path, opts.wait or 5, opts.create ~= false)
  if not database then return nil, err end
  local self = setmetatable({ path = path, database = database, keeps_media = opts.media or false }, Log)
  opened[self] = true
  return self
end

--- For a program that ends without closing its Lua state: what is open is left so that another one can go on with it.
function log.leave_all()
  for self in pairs(opened) do self.database:leave() end
end

--- What names a request, whoever sends it: the same for the same fields, messages, bytes of media, server and model.
--- Whether it is streamed does not count.
---@param request table  as for client:chat, parts in it
---@param opts lmm.LogKeyOptions
---@return string? key, lmm.Error? err  where a medium cannot be read
function log.key(request, opts)
  return the("request").key_of(request, opts)
end

--- Has the calls of a client logged: see lmm.log.recorder.
---@param opts { path: string, media: boolean?, cache: boolean? }
---@param loop lmm.Loop
---@return lmm.log.Recorder
function log.recorder(opts, loop)
  return the("recorder").new(opts, loop, log.open)
end

--- A value without media, and the media: see lmm.log.plain.
function log.plain(value, opts)
  return the("plain").of(value, opts)
end

--- The body in which a server would have sent a logged reply; nil where it had media.
---@param exchange lmm.LoggedExchange
---@return string? body
function log.body(exchange)
  return exchange.reply and the("answer").body(exchange.reply, exchange.model)
end

--- Whether what a log needs is installed: found, but not loaded.
---@return boolean
function log.is_installed()
  return the("places").is_installed()
end

--- Whether the command is to log, and who has said that it is not; and how that is changed for the times to come.
---@return boolean is_on, string? by  "$LMM_LOG", or the path of a file
function log.is_on()
  return the("places").is_on()
end

---@param is_on boolean
---@return true? done, string? message
function log.switch(is_on)
  return the("places").switch(is_on)
end

--- The path of the command's log: $LMM_LOG, where that is a path, else log.db in $XDG_STATE_HOME/lmm, which is
--- ~/.local/state/lmm unless given.
---@return string? path, string? message  nil where there is no home directory
function log.default_path()
  return the("places").path()
end

--- The same as log.key. A file that the log knows and that has not changed since is not read for it.
---@param request table
---@param opts lmm.LogKeyOptions
---@return string? key, lmm.Error? err
function Log:key(request, opts)
  return the("request").key_of(request, opts, the("media").known_by(self))
end

--- Adds an exchange. The messages that an earlier one has brought are not stored again.
---@param exchange lmm.Exchange
---@return integer? id, lmm.Error? err
function Log:add(exchange)
  return the("writing").add(self, exchange)
end

--- The exchange with this id, or nil.
---@param id integer
---@return lmm.LoggedExchange? exchange, lmm.Error? err
function Log:get(id)
  return the("reading").get(self, id)
end

--- The last exchange that asked what this key stands for and was answered, or nil.
---@param key string  see log.key
---@return lmm.LoggedExchange? exchange, lmm.Error? err
function Log:find(key)
  return the("reading").find(self, key)
end

--- The last exchanges, the newest first, without their requests and replies.
---@param opts lmm.LogFilter?
---@return lmm.LoggedExchange[]? rows, lmm.Error? err
function Log:list(opts)
  return the("reading").list(self, opts)
end

--- What it takes to go on with the conversation of an exchange, up to its answer.
---@class lmm.LoggedChat
---@field id integer        of its last exchange
---@field chat integer      of its first
---@field messages table[]  for client:conversation { messages = ... }: parts stand in the place of media, to be sent
--- from their files as long as these are what they were
---@field fields table      what else its last request carried, `model` apart
---@field options table     lmm's own that went with it: `schema` and the like
---@field model string?
---@field server string

--- What it takes to go on with the conversation of an exchange.
---@param id integer  of any exchange of it that was answered, or stopped while the answer came: what followed that one
--- is left out
---@return lmm.LoggedChat? chat, lmm.Error? err  nil alone where there is none
function Log:chat(id)
  return the("reading").chat(self, id)
end

--- The same as log:chat for the last exchange that was answered or stopped.
---@return lmm.LoggedChat? chat, lmm.Error? err  nil alone where there is none
function Log:last_chat()
  return the("reading").last_chat(self)
end

--- Calls `write` with each exchange as a line of JSON, the oldest first.
---@param write fun(line: string)
---@param opts lmm.LogFilter?
---@return integer? count, lmm.Error? err
function Log:export(write, opts)
  return the("reading").export(self, write, opts)
end

--- Forgets exchanges, and with them messages and kept media that no other one needs.
---@param opts lmm.PruneOptions
---@return integer? count, lmm.Error? err  how many exchanges are gone
---@return string? why  they are still to be found in the log's files for now
function Log:prune(opts)
  return the("pruning").prune(self, opts)
end

--- Ends it. Further calls of its methods raise.
function Log:close()
  opened[self] = nil
  self.database:close()
end

errors.check_self(Log, "log", "key", "add", "get", "find", "list", "chat", "last_chat", "export", "prune", "close")

return log
