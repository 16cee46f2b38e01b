--- The log of a server that starts: a file that grows comes in; its lines, the last of them and advice go out.
local log_tail = {}

local LAST_LINES = 12          -- kept for an error
local MAX_LINE = 16 * 1024     -- bytes; a longer line comes in pieces
local CHUNK = 64 * 1024        -- bytes of one read
local MAX_READ = 1024 * 1024   -- bytes of one call of `read`, so that a large log holds nobody up

--- Lua patterns for what servers that do not start write to their logs, and what to do then. Where several lines match,
--- the last counts, since a server goes on after a warning, and ends after an error.
local hints = {
  { "[Oo]ut of memory", "too little memory: a smaller model, --max-model-len or --gpu-memory-utilization may help" },
  { "OutOfMemoryError", "too little memory: a smaller model, --max-model-len or --gpu-memory-utilization may help" },
  { "Cannot allocate memory", "too little memory: a smaller model, or more of it for this job" },
  { "less than desired GPU memory", "lower --gpu-memory-utilization, or see who else uses the GPU" },
  { "No available memory for the cache", "raise --gpu-memory-utilization, or lower --max-model-len" },
  { "larger than the available KV cache memory", "lower --max-model-len, or raise --gpu-memory-utilization" },
  { "larger than the maximum number of tokens that can be stored in KV cache",
    "lower --max-model-len, or raise --gpu-memory-utilization" },
  { "[Aa]ddress already in use", "the port is taken: leave `port` out to get a free one" },
  { "EADDRINUSE", "the port is taken: leave `port` out to get a free one" },
  { "not a local folder and is not a valid model identifier", "there is no such model: check its name, or its path" },
  { "Invalid repository ID or local directory", "there is no such model: check its name, or its path" },
  { "Repo id must be", "there is no such model: check its path" },
  { "RepositoryNotFound", "there is no such model, or it needs a token (HF_TOKEN)" },
  { "GatedRepo", "the model asks for a token of someone who has accepted its terms (HF_TOKEN)" },
  { "LocalEntryNotFound", "the model is not in the cache, and its hub cannot be reached: download it first" },
  { "couldn't connect to 'https://huggingface", "the model's hub cannot be reached: download it first" },
  { "does not appear to have a file named config", "that folder holds no model" },
  { "failed to load model", "there is no such model, or it is broken: check its path" },
  { "unrecognized arguments?", "the server does not know that argument: see its --help" },
  { "[Uu]nknown option", "the server does not know that argument: see its --help" },
  { "invalid argument: ", "the server does not know that argument: see its --help" },
  { "invalid choice", "the server does not know that value: see its --help" },
  { "default chat template is no longer allowed", "the model has no chat template: pass --chat-template FILE" },
  { "must provide a chat template", "the model has no chat template: pass --chat-template FILE" },
  { "chat template.*doesn't exist", "check the path behind --chat-template" },
  { "chat template.*failed to be opened", "check the path behind --chat-template" },
  { "No module named", "the server's installation is incomplete" },
}

---@class lmm.LogTail
---@field last string[]   the last lines
---@field hint string?    what to do about what they say
---@field has_more boolean?  there were lines before them
local Tail = {}
Tail.__index = Tail

--- Adds a line. One that ends in a carriage return is overwritten by the next, as those of progress bars are.
function Tail:add_line(line, is_overwritten, on_line)
  if self.is_overwritten then table.remove(self.last) end
  self.is_overwritten = is_overwritten
  self.last[#self.last + 1] = line
  if #self.last > LAST_LINES then
    table.remove(self.last, 1)
    self.has_more = true
  end
  for _, row in ipairs(hints) do
    if line:find(row[1]) then
      self.hint = row[2]
      break
    end
  end
  if on_line then on_line(line) end
end

--- Reads what the file has gained, 1 MiB at most; `on_line` gets each line of it. The next call goes on from there, but
--- where nobody takes the lines, or no other call will come, only the end of the file matters.
---@param on_line fun(line: string)?
---@param is_all boolean?  nothing more will come: what follows the last line end is a line, too
function Tail:read(on_line, is_all)
  local file = io.open(self.path, "rb")
  if not file then return end
  local text, size = self.rest, file:seek "end"
  if (not on_line or is_all) and size - self.at > MAX_READ then self.at, text = size - MAX_READ, "" end
  file:seek("set", self.at)
  local stop_at = self.at + MAX_READ
  while self.at < stop_at do
    local bytes = file:read(CHUNK)
    if not bytes then break end
    self.at = self.at + #bytes
    text = text .. bytes
    local from = 1
    for line, stop, next_at in text:gmatch "([^\r\n]*)(\r?\n?)()" do
      -- At the end of what there is, a carriage return may be the first half of a line end.
      if stop == "" or stop == "\r" and next_at > #text then break end
      if stop ~= "\r" or line ~= "" then self:add_line(line, stop == "\r", on_line) end
      from = next_at
    end
    text = text:sub(from)
    while #text > MAX_LINE do
      self:add_line(text:sub(1, MAX_LINE), false, on_line)
      text = text:sub(MAX_LINE + 1)
    end
  end
  file:close()
  self.rest = text
  if is_all and text:find "%S" then
    self.rest = ""
    self:add_line(text, false, on_line)
  end
end

--- The last lines, as one text.
function Tail:text()
  return table.concat(self.last, "\n")
end

---@param path string  the file; it need not be there yet
---@return lmm.LogTail
function log_tail.new(path)
  return setmetatable({ path = path, at = 0, rest = "", last = {} }, Tail)
end

return log_tail
