--- `:checkhealth lmm`: whether the library loads, and whether a server answers.
-- luacheck: globals vim
local found = vim.health or require "health"
local health = {}
for _, name in ipairs { "start", "ok", "warn", "error" } do
  health[name] = found[name] or found["report_" .. name] -- as it was called before 0.10
end

local M = {}

local function check_module(name, advice)
  local ok, module = pcall(require, name)
  if ok then
    health.ok(name .. " loads")
  else
    health.error(name .. " does not load: " .. tostring(module):match "^[^\n]*", { advice })
  end
  return ok and module
end

local function check_server(client)
  local models, message = client:models { timeout = 5, retry = false }
  local advice = "set $OPENAI_BASE_URL, or base_url in require('lmm_nvim').setup"
  if not models then return health.error(message, { advice }) end
  health.ok(client.base_url .. " answers")
  for _, model in ipairs(models) do health.ok("model " .. model.id) end
end

function M.check()
  health.start "lmm"
  local lmm = check_module("lmm", "put the folder of the library into 'runtimepath'")
  if not lmm then return end
  local build = "run `make nvim` in the library's folder: it says what it needs"
  if not (check_module("lmm.core", build) and check_module("lmm.curl", build)) then return end
  if pcall(require, "cjson") then health.ok "JSON by lua-cjson" else health.ok "JSON by vim.json" end
  health.start "lmm: the server"
  local ok, client = pcall(require("lmm_nvim").client)
  if not ok then return health.error(tostring(client)) end
  check_server(client)
end

return M
