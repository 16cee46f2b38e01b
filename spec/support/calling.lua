-- Replies in which a model calls tools, in the form of spec/support/fake, streamed and whole, and a chat that has them.
--
-- In:  calls, each { name, arguments, id? }; arguments are a table, or a text as it is.
-- Out: replies.
local loops = require "lmm.loop"
local replies = require "spec.support.replies"

local calling = {}

local function item_of(call, place)
  local arguments = type(call[2]) == "string" and call[2] or replies.encode(call[2] or {})
  return { id = call[3] or ("c%d"):format(place), type = "function",
    ["function"] = { name = call[1], arguments = arguments } }
end

local function items(...)
  local list = {}
  for i, call in ipairs { ... } do list[i] = item_of(call, i) end
  return list
end

--- A whole reply with these calls.
function calling.whole(...)
  return replies.whole(nil, { tool_calls = items(...) })
end

--- The same as a stream, with a text before; arguments come in two pieces.
function calling.streamed(text, ...)
  local chunks = { replies.delta { role = "assistant", content = "" }, replies.delta(text) }
  for i, item in ipairs(items(...)) do
    local arguments = item["function"].arguments
    local half = math.floor(#arguments / 2)
    item.index, item["function"].arguments = i - 1, ""
    chunks[#chunks + 1] = replies.delta { tool_calls = { item } }
    for _, piece in ipairs { arguments:sub(1, half), arguments:sub(half + 1) } do
      chunks[#chunks + 1] = replies.delta { tool_calls = { { index = i - 1, ["function"] = { arguments = piece } } } }
    end
  end
  chunks[#chunks + 1] = replies.delta({}, "tool_calls")
  chunks[#chunks + 1] = replies.event "[DONE]"
  return replies.streamed(chunks)
end

--- A chat with a network of these replies, and its network.
---@param answers table[]
---@param opts table?  of the conversation
function calling.chat(answers, opts)
  local net = require "spec.support.fake".net(answers)
  return net:connect({ retry = false }):conversation(opts), net
end

--- Waits as a tool may; gives whether it waited to the end.
function calling.sleep(seconds)
  local loop = loops.current()
  local _, why = loop:wait({}, loop:now() + seconds)
  return why == "timeout"
end

--- A call of the tool `wait`.
function calling.wait(name, seconds) return { "wait", { name = name, s = seconds } } end

--- Gives a chat the tool `wait`, which waits `s` seconds and gives its `name`.
---@param def table?  more of its definition
---@return string[] log  what happens, in order
function calling.add_wait(chat, def)
  local log = {}
  def = def or {}
  def.name = "wait"
  chat:tool(def, function(args)
    log[#log + 1] = "begin " .. args.name
    local slept = calling.sleep(args.s)
    log[#log + 1] = (slept and "end " or "cancelled ") .. args.name
    return args.name
  end)
  return log
end

--- The contents of the tools' messages in a request, in order.
function calling.told(request)
  local told = {}
  for _, message in ipairs(request.body.messages) do
    if message.role == "tool" then told[#told + 1] = message.content end
  end
  return told
end

return calling
