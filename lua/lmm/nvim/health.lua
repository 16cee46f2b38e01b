--- `:checkhealth lmm.nvim`: whether the library loads, and whether a server answers.
-- luacheck: globals vim
local notify = require "lmm.nvim.notify"
local session = require "lmm.nvim.session"

local found = vim.health or require "health"
local health = {}
for _, name in ipairs { "start", "ok", "warn", "error" } do
  health[name] = found[name] or found["report_" .. name] -- as it was called before 0.10
end

local M = {}

local function check_server(client)
  local models, message = client:models { timeout = 5, retry = false }
  local advice = "set $OPENAI_BASE_URL, or base_url in require('lmm.nvim').setup"
  if not models then return health.error(message, { advice }) end
  health.ok(client.base_url .. " answers")
  for _, model in ipairs(models) do health.ok("model " .. model.id) end
end

function M.check()
  health.start "lmm"
  local problem = session.problem()
  if problem then return health.error(problem) end
  health.ok("the library loads: version " .. require("lmm").version)
  health.start "lmm: the server"
  local ok, client = pcall(session.client)
  if not ok then return health.error(notify.line(client)) end
  check_server(client)
end

return M
