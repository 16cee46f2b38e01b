--- `lmm log`: what was asked before, and what came of it.
local console = require "lmm.cli.console"
local texts = require "lmm.text"

local log = {}

local DESCRIPTION = "Show what lmm has asked and what came of it, the last exchanges, one on a line."

local EPILOG = [[
Words may follow:
   lmm log show ID        all of one exchange
   lmm log export         each as a line of JSON, the oldest first
   lmm log prune          forget those that --older or --all names, or ID
   lmm log off, on        whether lmm logs from now on
   lmm log path           where the log is

Media are named by their SHA-256 and path; they, and keys, are not in the log.
lmm ask, embed and transcribe log what they do unless --no-log is given.

Environment:
   LMM_LOG               another path for the log; or off, for none

Examples:
   lmm log --search telescope
   lmm log --image picture.jpg -n 100
   lmm log show 12
   lmm ask --again 12 -m other-model
   lmm log export --model org/model | jq .answer
   lmm log prune --older 30d]]

local UNITS = { s = 1, m = 60, h = 3600, d = 86400, w = 7 * 86400, y = 365 * 86400 }

--- For argparse: "30d" as seconds.
local function age(text)
  local number, unit = text:match "^(%d+)([smhdwy])$"
  if number then return tonumber(number) * UNITS[unit] end
  return nil, ("'%s' is no age: write 30d, 12h or 2w"):format(text)
end

local WORDS = {} -- what `lmm log WORD` does

function log.declare(parser)
  local command = parser:command("log", DESCRIPTION, EPILOG):summary "Show what was asked before, and what came of it."
  command:usage "Usage: lmm log [OPTION]... [show ID | export | prune | off | on | path]"
  local first = command:argument("words", "What to do, see below; an ID alone is shown."):args "*"
  first.words = require "lmm.options".names(WORDS)
  command:option("-n --limit", "At most so many (default: 20; of export, all)."):argname("N")
    :convert(console.whole(1))
  command:option("-s --search", "Those with all of these words in their question or answer; the beginning of a word is"
    .. " enough."):argname "WORDS"
  command:option("-i --image", "Those about this picture, or any other medium, wherever its file was then.")
    :argname "FILE"
  command:option("-m --model", "Those of this model."):argname "NAME"
  command:option("--chat", "Those of the conversation to which this exchange belongs."):argname("ID")
    :convert(console.whole(1))
  command:flag("--failed", "Those that failed.")
  command:option("--older", "Those that are older, as in 30d, 12h or 2w."):argname("AGE"):convert(age)
  command:flag("--all", "With prune: all of them.")
  command:flag("--json", "Print exchanges as JSON, one on each line.")
end

-- ---- what is printed ---------------------------------------------------------------------------------------------

--- A text as one line of at most so many bytes, filled up to that many characters.
local function column(text, width)
  text = texts.line(text, width)
  local _, length = text:gsub("[^\128-\191]", "")
  return text .. (" "):rep(width - length)
end

local WIDTHS = { model = 18, question = 40, answer = 60 }

local function line_of(row)
  local question = row.question
  if row.media_count then question = ("[%d] %s"):format(row.media_count, question) end
  local answer = row.error and "failed: " .. row.error or row.answer
  if row.cached then answer = "(cached) " .. answer end
  return texts.trim_right(("%5d  %s  %s  %s  %s"):format(row.id, os.date("%Y-%m-%d %H:%M", math.floor(row.time)),
    column(row.model or row.kind, WIDTHS.model), column(question, WIDTHS.question),
    texts.line(answer, WIDTHS.answer))) .. "\n"
end

--- "picture.jpg (image/jpeg, 1280 x 854 pixels, /home/me/picture.jpg)"
local function describe_part(part)
  local facts = { part.mime }
  if part.width then facts[#facts + 1] = ("%d x %d pixels"):format(part.width, part.height) end
  facts[#facts + 1] = part.path or part.url
  if part.err then facts[#facts + 1] = part.err.message end
  return ("[%s: %s]"):format(part.kind, texts.line(table.concat(facts, ", "), 500))
end

--- A medium that no part stands for: what the server was to fetch, or what a caller wrote himself.
local function describe_raw(kind, url)
  if require "lmm.part".is(url) then return describe_part(url) end
  return ("[%s: %s]"):format(kind, type(url) == "string" and texts.line(url, 200) or "its bytes are kept")
end

--- The texts and media of a message's content.
local function content_lines(content, out)
  local parts, json = require "lmm.part", require "lmm.json"
  if type(content) == "string" then
    out[#out + 1] = content
  elseif parts.is(content) then
    out[#out + 1] = describe_part(content)
  elseif type(content) == "table" and type(content.text) == "string" then
    out[#out + 1] = content.text
  elseif type(content) == "table" and type(content[content.type]) == "table" and content[content.type].url ~= nil then
    out[#out + 1] = describe_raw(content.type, content[content.type].url)
  elseif type(content) == "table" and content[1] == nil and next(content) ~= nil then
    out[#out + 1] = texts.line(json.text(content) or "", 500)
  elseif type(content) == "table" then
    for _, item in ipairs(content) do content_lines(item, out) end
  end
  return out
end

local function message_text(message)
  local out = content_lines(message.content, {})
  for _, call in ipairs(type(message.tool_calls) == "table" and message.tool_calls or {}) do
    local fn = call["function"] or {}
    out[#out + 1] = ("[calls %s %s]"):format(tostring(fn.name), tostring(fn.arguments))
  end
  return ("%s:\n%s\n"):format(message.role or "request", table.concat(out, "\n"))
end

local function facts_of(exchange)
  local facts = { ("%s, %s at %s"):format(os.date("%Y-%m-%d %H:%M:%S", math.floor(exchange.time)),
    exchange.model or "no model", exchange.server) }
  if exchange.kind ~= "chat/completions" then facts[1] = facts[1] .. ", " .. exchange.kind end
  if exchange.chat ~= exchange.id then facts[#facts + 1] = ("chat %d"):format(exchange.chat) end
  if exchange.first_token then facts[#facts + 1] = ("first token after %.3f s"):format(exchange.first_token) end
  if exchange.total then facts[#facts + 1] = ("%.3f s in all"):format(exchange.total) end
  if exchange.prompt_tokens then
    facts[#facts + 1] = ("%d prompt tokens, %d completion tokens"):format(exchange.prompt_tokens,
      exchange.completion_tokens or 0)
  end
  if exchange.cost then facts[#facts + 1] = ("cost %.6g"):format(exchange.cost) end
  if exchange.finish_reason then facts[#facts + 1] = "finish_reason " .. exchange.finish_reason end
  if exchange.cached then facts[#facts + 1] = "answered from the log" end
  return table.concat(facts, "; ")
end

--- The fields of a request, as JSON, without its messages.
local function fields_text(exchange)
  local fields = {}
  for name, value in pairs(exchange.request) do
    if name ~= "messages" and name ~= "model" then fields[name] = value end
  end
  for name, value in pairs(exchange.options or {}) do fields[name] = value end
  return next(fields) and texts.line(require "lmm.json".text(fields) or "", 2000)
end

local function text_of(exchange)
  local out = { ("%d: %s"):format(exchange.id, facts_of(exchange)) }
  out[#out + 1] = fields_text(exchange)
  out[#out + 1] = ""
  for _, message in ipairs(exchange.request.messages or {}) do out[#out + 1] = message_text(message) end
  local reply = exchange.reply
  if reply and reply.reasoning then out[#out + 1] = "reasoning:\n" .. reply.reasoning .. "\n" end
  if reply and reply.message then out[#out + 1] = message_text(reply.message) end
  if exchange.error then
    if exchange.answer ~= "" then out[#out + 1] = "assistant, up to where it broke off:\n" .. exchange.answer end
    out[#out + 1] = "error: " .. exchange.error .. "\n"
  end
  return table.concat(out, "\n")
end

-- ---- what is done ------------------------------------------------------------------------------------------------

--- What `fn` gives for the log, which is not made for looking at it. It is closed afterwards: Lua 5.1 closes nothing
--- as it ends, and what other commands have left is to be in the database then.
local function with_log(fn)
  local logs = require "lmm.log"
  local path, message = logs.default_path()
  if not path then console.fail("%s", message) end
  local opened, err = logs.open(path, { create = false })
  if not opened then console.fail("%s", err.message) end
  local value, why
  value, err, why = fn(opened)
  opened:close()
  return value, err, why
end

local function filter_of(args, limit)
  return { limit = args.limit or limit, search = args.search, image = args.image, model = args.model, chat = args.chat,
    failed = args.failed or nil, older = args.older and os.time() - args.older }
end

local function export(args, limit)
  local count, err = with_log(function(opened)
    return opened:export(function(line) console.show(line .. "\n") end, filter_of(args, limit))
  end)
  return count and true, err and err.message, err
end

local DEFAULT_LIMIT = 20

local function list(args)
  if args.json then return export(args, DEFAULT_LIMIT) end
  local rows, err = with_log(function(opened) return opened:list(filter_of(args, DEFAULT_LIMIT)) end)
  if not rows then return nil, err.message, err end
  for i = #rows, 1, -1 do console.write(line_of(rows[i])) end -- the newest stands last, where one looks
  return true
end

local function id_of(word)
  if not word then console.misuse "show takes the ID of an exchange, as lmm log shows it" end
  local id = console.whole(0)(word)
  if not id then console.misuse("an ID is a number, as lmm log shows it, not '%s'", word) end
  return id
end

local function show(args)
  local id = id_of(args.words[2])
  local exchange, err = with_log(function(opened) return opened:get(id) end)
  if err then return nil, err.message, err end
  if not exchange then console.fail("there is no exchange %d in the log", id) end
  console.write(require("lmm.cli.safe").text(text_of(exchange))) -- for people: export gives all as it is
  return true
end

local function prune(args)
  local id = args.words[2] and id_of(args.words[2])
  local given = { older = args.older, id = id, all = args.all or nil }
  if not next(given) or next(given, (next(given))) then
    console.misuse "prune takes one of --older 30d, --all and an ID"
  end
  local count, err, why = with_log(function(opened) return opened:prune(given) end)
  if not count then return nil, err.message, err end
  console.write(texts.count(count, "exchange") .. " forgotten\n")
  if why then console.note("lmm: their words stay in the log's files for now: %s", why) end
  return true
end

local function switch(is_on)
  return function()
    local logs = require "lmm.log"
    local done, message = logs.switch(is_on)
    if not done then return nil, "this cannot be noted: " .. message end
    local is_now, by = logs.is_on()
    if is_now ~= is_on then console.note("lmm: %s says otherwise for now", by or "$LMM_LOG") end
    return true
  end
end

local function path()
  local where, message = require "lmm.log".default_path()
  if not where then return nil, message end
  console.write(where .. "\n")
  return true
end

WORDS.show, WORDS.export, WORDS.prune, WORDS.path = show, export, prune, path
WORDS.off, WORDS.on = switch(false), switch(true)

local OPTIONS = { "limit", "search", "image", "model", "chat", "failed", "older", "all", "json" }

--- Which of them go with which word, "" being none: prune forgets for good.
local FILTERS = { limit = true, search = true, image = true, model = true, chat = true, failed = true, older = true,
  json = true }
local TAKES = { [""] = FILTERS, export = FILTERS, prune = { older = true, all = true } }

--- How many words may follow each.
local MOST = { show = 2, prune = 2 }

function log.run(args)
  local words = args.words
  if words[1] and words[1]:find "^%d+$" then table.insert(words, 1, "show") end
  local action = words[1] and WORDS[words[1]]
  if words[1] and not action then
    local near = require "lmm.options".nearest(words[1], WORDS)
    console.misuse("there is no lmm log %s%s", words[1], near and ": did you mean " .. near .. "?"
      or " (--search WORDS searches)")
  end
  if #words > (MOST[words[1]] or 1) then
    console.misuse("'%s' is too much behind lmm log %s", words[#words], words[1])
  end
  console.check_options(args, OPTIONS, TAKES[words[1] or ""], words[1] and "lmm log " .. words[1] or "lmm log")
  return (action or list)(args)
end

return log
