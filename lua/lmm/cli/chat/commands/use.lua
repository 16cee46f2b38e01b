--- Commands: what was used, and what was asked.
local console = require "lmm.cli.console"
local texts = require "lmm.text"

--- What a server answers that has no /tokenize.
local NONE = { [404] = true, [405] = true, [501] = true }

local function count(session, chat)
  local client = session.client
  if not chat.messages[1] then return session.screen:note "the conversation has not begun" end
  local reply, message, err = session:wait(function()
    return client:tokenize(chat.messages, { timeout = 30, retry = false, model = chat.fields.model })
  end)
  if reply then
    session.screen:print(("the conversation has %d tokens%s"):format(reply.count, reply.max_model_len
      and (", of at most %d"):format(reply.max_model_len) or ""))
  elseif NONE[err.status] then
    session.screen:note "this server counts no tokens of conversations"
  else
    console.fail("%s", message)
  end
end

local function tokens(session)
  local used = session.used
  count(session, session:chat():fork())
  session.screen:print(("used so far: %d tokens of prompts and %d of answers, in %s"):format(used.prompt,
    used.completion, texts.count(used.answers, "answer")))
end

local MILLION = 1000000

--- The prices of a million tokens.
local function read_price(text)
  local input, output = text:match "^(%S+)%s+(%S+)$"
  input, output = tonumber(input), tonumber(output)
  if not (input and output and input >= 0 and output >= 0 and input + output < math.huge) then
    console.misuse "/cost takes what a million tokens of prompts cost, and of answers, as in /cost 0.15 0.60"
  end
  return { input = input, output = output }
end

local function cost(session, text)
  if text ~= "" then session.price = read_price(text) end
  local used, price = session.used, session.price
  local sum = price and (used.prompt * price.input + used.completion * price.output) / MILLION or used.cost
  session.screen:print(("%d tokens of prompts, %d of answers%s"):format(used.prompt, used.completion,
    sum and (": %.6f"):format(sum):gsub("0+$", ""):gsub("%.$", "") or ""))
  if not sum then
    session.screen:note "prices are not known: /cost IN OUT tells what a million tokens cost"
  end
end

local function log(session, text)
  local most = text == "" and 10 or console.whole(1)(text)
  if not most then console.misuse "/log takes how many exchanges to show" end
  local asked = {}
  for _, part in ipairs(session:chat():question(-1) or {}) do
    if type(part) == "string" then asked[#asked + 1] = part end
  end
  local rows, message = require("lmm.cli.chat.log").last(most, asked[1] and table.concat(asked, "\n"))
  if not rows then console.fail("%s", message) end
  if #rows == 0 then return session.screen:note "the log is empty" end
  local lines = {}
  for i = #rows, 1, -1 do
    local row = rows[i]
    lines[#lines + 1] = texts.line(("%d  %s  %s"):format(row.id, os.date("%Y-%m-%d %H:%M", math.floor(row.time)),
      texts.line(row.question or "", 200)), session.screen:width())
  end
  session.screen:print(table.concat(lines, "\n"))
end

return {
  { name = "tokens", run = tokens, help = "Say how many tokens the conversation has, and how many were used." },
  { name = "cost", args = "[IN OUT]", run = cost, help = "Say what the answers of this chat cost; IN and OUT are the "
    .. "prices of a million tokens of prompts and of answers." },
  { name = "log", args = "[N]", run = log, help = "Show what the log holds of this conversation, at most"
    .. " N exchanges (10); see lmm log." },
}
