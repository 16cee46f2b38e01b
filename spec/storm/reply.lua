--- A reply: draws come in; what the server means to say goes out, and the bytes of the body that says it, streamed or
--- whole, with the quirks of the servers there are.
local reply = {}

local ALPHABET = {
  "the ", "moon", " is", "\n", "\195\169", "\226\130\172", "\240\159\140\153", "\226\128\168", "\"", "\\", "data: ",
  "[DONE]", "\t", "{", "}", "\r\n", "</html>", ": ", "0", " ", "\239\187\191", "\127", "/", "finish_reason",
  "null", "\1",
}

local function draw_text(r, least, most)
  local out = {}
  for i = 1, r:int(least, most) do out[i] = r:pick(ALPHABET) end
  return table.concat(out)
end

local function unicode_escape(char)
  local point = char:byte(1)
  if point >= 0x80 then
    point = point < 0xe0 and point - 0xc0 or point < 0xf0 and point - 0xe0 or point - 0xf0
    for i = 2, #char do point = point * 64 + char:byte(i) - 0x80 end
  end
  if point < 0x10000 then return ("\\u%04x"):format(point) end
  point = point - 0x10000
  return ("\\u%04x\\u%04X"):format(0xd800 + math.floor(point / 1024), 0xdc00 + point % 1024)
end

local SHORT = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\""] = "\\\"", ["\\"] = "\\\\", ["/"] = "\\/" }

--- A JSON string; what may be written in several ways is written in any of them.
local function quote(r, text)
  return "\"" .. text:gsub("[%z\1-\127\194-\244][\128-\191]*", function(char)
    local must = char:find "[%c\"\\]"
    if SHORT[char] and (must or r:chance(0.5)) and r:chance(0.8) then return SHORT[char] end
    if must or #char > 1 and r:chance(0.3) then return unicode_escape(char) end
  end) .. "\""
end

reply.quote = quote

-- ---- what is meant -----------------------------------------------------------------------------------------------

local function draw_pieces(r, most)
  local pieces = {}
  for i = 1, r:int(1, most) do pieces[i] = draw_text(r, 1, 6) end
  return pieces
end

local function draw_calls(r)
  local calls = {}
  for i = 1, r:chance(0.7) and 1 or r:int(2, 4) do
    local arguments = "{\"q\":" .. quote(r, draw_text(r, 0, 8)) .. ",\"i\":" .. i .. "}"
    if r:chance(0.1) then arguments = "{\"q\":" .. i .. "}" end
    calls[i] = { id = ("call_%d_%d"):format(i, r:int(0, 99999)), name = r:pick { "look", "zoom", "f" },
      arguments = arguments }
  end
  return calls
end

local function draw_choice(r, index)
  local kind = r:weighted { { "text", 50 }, { "reasoning", 20 }, { "calls", 20 }, { "both", 5 }, { "refusal", 5 },
    { "nothing", 2 } }
  local choice = { index = index, pieces = {}, finish_reason = r:pick { "stop", "length" } }
  if kind == "reasoning" then choice.thoughts = draw_pieces(r, 6) end
  if kind == "text" or kind == "reasoning" or kind == "both" then
    choice.pieces = draw_pieces(r, r:chance(0.1) and 60 or 10)
  end
  if kind == "refusal" then choice.refusals = draw_pieces(r, 3) end
  if kind == "calls" or kind == "both" then
    choice.tool_calls = draw_calls(r)
    choice.finish_reason = r:pick { "tool_calls", "stop" }
  end
  choice.text = table.concat(choice.pieces)
  choice.reasoning = choice.thoughts and table.concat(choice.thoughts)
  choice.refusal = choice.refusals and table.concat(choice.refusals)
  return choice
end

---@class lmm.storm.Meant
---@field id string
---@field model string
---@field choices table[]
---@field tokens integer?  usage.total_tokens

--- Draws what a server means to say.
---@return lmm.storm.Meant
function reply.draw(r)
  local meant = { id = "chatcmpl-" .. r:int(0, 999999), model = "storm", choices = {} }
  for i = 1, r:chance(0.15) and r:int(2, 4) or 1 do meant.choices[i] = draw_choice(r, i - 1) end
  meant.tokens = r:chance(0.7) and r:int(1, 100000) or nil
  return meant
end

-- ---- whole -------------------------------------------------------------------------------------------------------

local function usage(r, meant)
  return ('{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%s}'):format(1, meant.tokens - 1, meant.tokens,
    r:pick { "", ',"prompt_tokens_details":null' })
end

local function call_object(r, call, index)
  return ('{%s"id":%s,"type":"function","function":{"name":%s,"arguments":%s}}'):format(
    index and '"index":' .. index .. "," or "", quote(r, call.id), quote(r, call.name), quote(r, call.arguments))
end

local REASONING = { { "reasoning" }, { "reasoning_content" }, { "reasoning", "reasoning_content" } }

local function message_of(r, choice)
  local fields = { '"role":"assistant"' }
  if choice.text ~= "" and r:chance(0.1) then
    fields[2] = '"content":[{"type":"text","text":' .. quote(r, choice.text) .. "}]"
  else
    fields[2] = '"content":' .. (choice.text == "" and r:pick { "null", '""' } or quote(r, choice.text))
  end
  for _, name in ipairs(choice.reasoning and r:pick(REASONING) or {}) do
    fields[#fields + 1] = ('"%s":%s'):format(name, quote(r, choice.reasoning))
  end
  if choice.refusal then fields[#fields + 1] = '"refusal":' .. quote(r, choice.refusal) end
  if choice.tool_calls then
    local calls = {}
    for i, call in ipairs(choice.tool_calls) do calls[i] = call_object(r, call, r:chance(0.3) and i - 1) end
    fields[#fields + 1] = '"tool_calls":[' .. table.concat(calls, ",") .. "]"
  else
    fields[#fields + 1] = r:pick { '"tool_calls":[]', '"tool_calls":null', '"function_call":null' }
  end
  return "{" .. table.concat(fields, ",") .. "}"
end

--- The body of an unstreamed answer, and how much of it holds all that is meant.
function reply.whole(r, meant)
  local choices = {}
  for i, choice in ipairs(meant.choices) do
    choices[i] = ('{"index":%d,"message":%s,"logprobs":null,"finish_reason":"%s"}'):format(choice.index,
      message_of(r, choice), choice.finish_reason)
  end
  local text = ('{"id":%s,"object":"chat.completion","model":%s,"choices":[%s]%s}'):format(quote(r, meant.id),
    quote(r, meant.model), table.concat(choices, ","), meant.tokens and ',"usage":' .. usage(r, meant) or "")
  local padding = r:chance(0.1) and r:pick { "\n", " \n\n", "\r\n" } or ""
  return padding .. text .. (r:chance(0.1) and "\n" or ""), #padding + #text
end

-- ---- streamed ----------------------------------------------------------------------------------------------------

--- The deltas that bring one tool call.
local function call_steps(r, steps, call, index)
  local style = r:pick { "fragments", "fragments", "whole", "repeated", "by_id", "latest", "decoded", "empty", "zero",
    "late" }
  local function step(fields, more)
    steps[#steps + 1] = { calls = fields, together = more }
  end
  local id, name = '"id":' .. quote(r, call.id), '"name":' .. quote(r, call.name)
  local place = r:chance(0.3) and style == "latest" and '"index":null,' or ""
  if style == "whole" then return step(call_object(r, call, index)) end
  if style == "decoded" and call.arguments:find '^{"q":%d+}$' then
    return step(('{"index":%d,%s,"function":{%s,"arguments":%s}}'):format(index, id, name, call.arguments))
  end
  if style == "fragments" or style == "repeated" or style == "decoded" or style == "empty" then
    place = ('"index":%d,'):format(index)
  elseif style == "zero" then
    place = '"index":0,'
  end
  step(("{%s%s,\"type\":\"function\",\"function\":{%s%s}}"):format(place, id, name,
    r:pick { "", ',"arguments":""', ',"arguments":null' }))
  if style == "late" then place = ('"index":%d,'):format(index) end
  local rest = call.arguments
  while rest ~= "" do
    local length = r:int(1, math.max(1, math.min(#rest, 12)))
    while rest:sub(length + 1, length + 1):find "[\128-\191]" do length = length + 1 end
    local piece = rest:sub(1, length)
    rest = rest:sub(length + 1)
    local again = (style == "by_id" or style == "repeated" or style == "late") and id .. ","
      or style == "empty" and '"id":"",' or ""
    local named = style == "repeated" and name .. "," or style == "empty" and '"name":"",' or ""
    step(("{%s%s\"function\":{%s\"arguments\":%s}}"):format(place, again, named, quote(r, piece)), r:chance(0.2))
  end
end

local function role_step(r)
  return { delta = r:pick { '{"role":"assistant","content":""}', '{"role":"assistant","content":null}',
    '{"role":"assistant"}' } }
end

--- The deltas of one choice, in order: { delta, content, text, finish }.
local function choice_steps(r, choice)
  local steps = { r:chance(0.9) and role_step(r) or nil }
  if r:chance(0.1) then steps[#steps + 1] = role_step(r) end
  local role = r:chance(0.1) and '"role":"assistant",' or ""
  local reasoning = r:pick(REASONING)
  for _, thought in ipairs(choice.thoughts or {}) do
    local fields = {}
    for i, name in ipairs(reasoning) do fields[i] = ('"%s":%s'):format(name, quote(r, thought)) end
    steps[#steps + 1] = { delta = "{" .. role .. table.concat(fields, ",") .. r:pick { "", ',"content":null' } .. "}",
      content = true }
  end
  for _, piece in ipairs(choice.pieces) do
    steps[#steps + 1] = { delta = ('{%s"content":%s}'):format(role, quote(r, piece)), content = true, text = piece }
    if r:chance(0.05) then steps[#steps + 1] = { delta = r:pick { "{}", '{"content":""}', '{"content":null}' } } end
  end
  for _, piece in ipairs(choice.refusals or {}) do
    steps[#steps + 1] = { delta = '{"refusal":' .. quote(r, piece) .. "}", content = true }
  end
  local call_deltas = {}
  for i, call in ipairs(choice.tool_calls or {}) do call_steps(r, call_deltas, call, i - 1) end
  for _, step in ipairs(call_deltas) do
    local last = steps[#steps]
    if step.together and last and last.calls then
      last.calls = last.calls .. "," .. step.calls
    else
      steps[#steps + 1] = { calls = step.calls, content = true }
    end
  end
  for _, step in ipairs(steps) do
    if step.calls then step.delta = '{"tool_calls":[' .. step.calls .. "]}" end
  end
  if #steps == 0 or r:chance(0.7) then steps[#steps + 1] = { delta = r:pick { "{}", '{"content":""}' } } end
  steps[#steps].finish = choice.finish_reason
  return steps
end

--- The steps of all choices in the order in which they are sent: vLLM begins every choice before it goes on with one.
local function merge(r, meant)
  local lists, order = {}, {}
  for i, choice in ipairs(meant.choices) do lists[i] = choice_steps(r, choice) end
  local at, left = {}, #lists
  local function take(i)
    at[i] = (at[i] or 0) + 1
    local step = lists[i][at[i]]
    step.index = i - 1
    order[#order + 1] = step
    if at[i] == #lists[i] then left = left - 1 end
  end
  local style = r:pick { "interleaved", "interleaved", "sequential" }
  if style == "interleaved" then
    for i = 1, #lists do take(i) end
  end
  while left > 0 do
    local open = {}
    for i, list in ipairs(lists) do
      if (at[i] or 0) < #list then open[#open + 1] = i end
    end
    take(style == "interleaved" and r:pick(open) or open[1])
  end
  return order
end

local function chunk(r, meant, choices, more)
  local object = r:chance(0.9) and '"object":"chat.completion.chunk","created":1,' or ""
  return ('{"id":%s,%s"model":%s,"choices":%s%s}'):format(quote(r, meant.id), object, quote(r, meant.model), choices,
    more or "")
end

local ENDS = { lf = "\n", cr = "\r", crlf = "\r\n" }

local Writer = {}
Writer.__index = Writer

--- Writes an event; remembers where it is complete, and what is known from there on.
function Writer:event(data, known)
  local r, eol = self.r, self.eol
  if r:chance(self.noise) then
    self:add(r:pick { ": keep-alive" .. eol .. eol, ":" .. eol .. eol, "id: 7" .. eol .. eol, "data:" .. eol .. eol,
      "retry: 1000" .. eol .. eol, eol, "event: ping" .. eol .. eol, ": " .. ("x"):rep(200) .. eol })
  end
  local prefix = r:chance(0.9) and "data: " or "data:"
  if r:chance(self.noise) and data:sub(1, 1) == "{" then data = "{" .. eol .. prefix .. data:sub(2) end
  self:add((known.name and "event: " .. known.name .. eol or "") .. prefix .. data .. eol .. eol)
  known.data_at = self.size - 2 * #eol
  known.at = self.size - (eol == "\r\n" and 1 or 0) -- the CR alone ends the empty line
  self.marks[#self.marks + 1] = known
end

function Writer:add(bytes)
  self.out[#self.out + 1] = bytes
  self.size = self.size + #bytes
end

--- Leaves out line ends behind the last event, which then counts at an end that is in order only.
function Writer:drop_line_ends()
  local last = table.concat(self.out)
  local kept = #last - self.r:int(1, 2) * #self.eol
  self.out, self.size = { last:sub(1, kept) }, kept
  local mark = self.marks[#self.marks]
  mark.at, mark.data_at, mark.needs_end = kept, math.min(kept, mark.data_at), true
end

--- The body of a streamed answer.
---@param broken { at: number, data: string, mark: table }?  an event to send in the middle: `at` of 1 of the way
---@return string body, table[] marks  { at = offset in the body, text, content, finished, done, or what `broken` says }
function reply.streamed(r, meant, broken)
  local w = setmetatable({ r = r, eol = ENDS[r:weighted { { "lf", 60 }, { "crlf", 20 }, { "cr", 20 } }], out = {},
    size = 0, marks = {}, noise = r:chance(0.3) and 0.2 or 0 }, Writer)
  if r:chance(0.1) then w:add "\239\187\191" end
  local order = merge(r, meant)
  local stop = broken and math.floor(broken.at * #order)
  local text, content, unfinished = "", false, #meant.choices
  local seen, begun, position = {}, 0, 0
  if stop == 0 then w:event(broken.data, broken.mark) end
  while position < #order do
    local choices = {}
    repeat
      position = position + 1
      local step = order[position]
      choices[#choices + 1] = ('{"index":%d,"delta":%s%s%s}'):format(step.index, step.delta,
        r:pick { "", ',"logprobs":null' },
        step.finish and ',"finish_reason":"' .. step.finish .. '"' or r:pick { "", ',"finish_reason":null' })
      if not seen[step.index] then seen[step.index], begun = true, begun + 1 end
      if step.index == 0 and step.text then text = text .. step.text end
      content = content or step.content or false
      if step.finish then unfinished = unfinished - 1 end
    until position == #order or position == stop or not r:chance(0.1)
    w:event(chunk(r, meant, "[" .. table.concat(choices, ",") .. "]", r:pick { "", ',"usage":null' }),
      { text = text, content = content, finished = unfinished == 0,
        some = begun == #meant.choices - unfinished and begun < #meant.choices and begun or nil })
    if position == stop then w:event(broken.data, broken.mark) end
  end
  local known = { text = text, content = content, finished = true }
  if meant.tokens then
    w:event(chunk(r, meant, r:pick { "[]", "null" }, ',"usage":' .. usage(r, meant)),
      { text = text, content = content, finished = true })
  end
  if r:chance(0.9) then
    known.done = true
    w:event("[DONE]" .. r:pick { "", "", " " }, known)
  end
  if r:chance(0.15) then w:drop_line_ends() end
  return table.concat(w.out), w.marks
end

return reply
