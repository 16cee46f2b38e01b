--- What a server can do at a time, as a model of one: rows come in; when each is done, or that it is refused, goes out.
--- The built-in server slows its answers by it (`lmm mock --capacity`), and lmm.map is judged by it in virtual time.
---
---     batching:64   continuous batching, as vLLM does it: 64 run at a time, each the slower the more there are, up to
---                   1.5 times; the others wait their turn, and nobody is refused
---     slots:1       so many run at a time, the others wait their turn
---     reject:8      so many run at a time, the others are refused (503)
---     collapse:32   all run; beyond so many each takes longer by the square of how far beyond

local capacity = {}

local NOISE = 0.3 -- the standard deviation of a row's logarithm: rows differ

---@class lmm.mock.Capacity
local Capacity = {}
Capacity.__index = Capacity

--- How much longer a row takes that is the n-th of those that run.
local slowdowns = {
  batching = function(n, most) return 1 + 0.5 * n / most end,
  slots = function() return 1 end,
  reject = function() return 1 end,
  collapse = function(n, most) return math.max(1, n / most) ^ 2 end,
}

--- Makes a model of "batching:64" and the like.
---@param text string
---@param opts { seconds: number, after: fun(seconds: number, fn: fun()), random: (fun(): number)?, noise: number? }
--- seconds: what a row takes alone; after: calls a function later; noise: how much rows differ (0.3)
---@return lmm.mock.Capacity? model, string? message
function capacity.new(text, opts)
  local kind, most = text:match "^(%l+):(%d+)$"
  most = tonumber(most)
  if not slowdowns[kind] or most < 1 then
    return nil, ("'%s' is no capacity: there are batching:64, slots:1, reject:8 and collapse:32"):format(text)
  end
  return setmetatable({
    kind = kind, most = most, seconds = opts.seconds, noise = opts.noise or NOISE,
    after = opts.after, random = opts.random or math.random,
    running = 0, first = 1, last = 0, waiting = {}, -- waiting[first .. last]
  }, Capacity)
end

local function normal(random)
  return math.sqrt(-2 * math.log(1 - random())) * math.cos(2 * math.pi * random())
end

function Capacity:start(fn)
  self.running = self.running + 1
  local seconds = self.seconds * slowdowns[self.kind](self.running, self.most)
  self.after(seconds * math.exp(self.noise * normal(self.random) - self.noise ^ 2 / 2), function()
    self.running = self.running - 1
    local next_fn = self.waiting[self.first]
    if next_fn then
      self.waiting[self.first], self.first = nil, self.first + 1
      self:start(next_fn)
    end
    fn()
  end)
end

--- A row comes in; `fn` is called when it is done.
---@return boolean is_taken  false: it is refused
function Capacity:take(fn)
  if self.running < self.most or self.kind == "collapse" then
    self:start(fn)
  elseif self.kind == "reject" then
    return false
  else
    self.last = self.last + 1
    self.waiting[self.last] = fn
  end
  return true
end

return capacity
