--- Keys of normal mode that mean something for a while: a buffer's own mapping is put back afterwards.
-- luacheck: globals vim
local api = vim.api

local keys = {}

--- A key code as Neovim lists it: `<C-c>` may have been mapped as `<c-c>`.
local function canonical(key)
  return api.nvim_replace_termcodes(key, true, true, true)
end

--- A buffer's own mapping of a key, or nil.
local function mapping_of(buffer, key)
  for _, mapping in ipairs(api.nvim_buf_get_keymap(buffer, "n")) do
    if canonical(mapping.lhs) == canonical(key) then return mapping end
  end
end

local function put_back(buffer, key, mapping)
  local opts = { callback = mapping.callback, desc = mapping.desc }
  for _, name in ipairs { "expr", "noremap", "nowait", "replace_keycodes", "script", "silent" } do
    opts[name] = mapping[name] == 1 or nil
  end
  api.nvim_buf_set_keymap(buffer, "n", key, mapping.rhs or "", opts)
end

--- Maps keys in some buffers.
---@param buffers integer[]  one may be named twice
---@param actions table<string, { fn: fun(), desc: string }>  by key
---@return fun() restore  makes the keys what they were
function keys.map(buffers, actions)
  local before = {}
  for _, buffer in ipairs(buffers) do before[buffer] = {} end
  for buffer, mappings in pairs(before) do
    for key, action in pairs(actions) do
      mappings[key] = mapping_of(buffer, key) or false
      vim.keymap.set("n", key, action.fn, { buffer = buffer, nowait = true, desc = action.desc })
    end
  end
  return function()
    for buffer, mappings in pairs(before) do
      for key, mapping in pairs(mappings) do
        if api.nvim_buf_is_loaded(buffer) then
          pcall(vim.keymap.del, "n", key, { buffer = buffer }) -- unless the user has deleted it
          if mapping then put_back(buffer, key, mapping) end
        end
      end
    end
    before = {}
  end
end

return keys
