--- Which class is described on which page: the classes of the library come in; pages, each with its public classes in
--- order, go out.
local M = {}

--- The pages, with the classes that they are about. What these mention, and no page is about, stands on the first page
--- that mentions it.
M.PAGES = {
  { name = "lmm", title = "The module lmm", "lmm" },
  { name = "client", title = "Clients", "lmm.Client", "lmm.ConnectOptions" },
  { name = "conversation", title = "Conversations", "lmm.Conversation", "lmm.ConversationOptions", "lmm.AskOptions",
    "lmm.Tool", "lmm.ToolRules" },
  { name = "stream", title = "Streams and events", "lmm.Stream", "lmm.Events" },
  { name = "reply", title = "Replies", "lmm.Reply" },
  { name = "part", title = "Parts and forms", "lmm.Part", "lmm.ImageOptions", "lmm.VideoOptions", "lmm.AudioOptions",
    "lmm.FileOptions", "lmm.PagesOptions", "lmm.Bytes", "lmm.Frames", "lmm.Form" },
  { name = "error", title = "Errors and retry", "lmm.Error", "lmm.Retry" },
  { name = "task", title = "Tasks and loops", "lmm.Task", "lmm.GatherOptions", "lmm.Loop" },
  { name = "bulk", title = "Many rows", "lmm.MapOptions", "lmm.MapSummary" },
  { name = "server", title = "Servers that lmm starts", "lmm.ServeOptions", "lmm.Server", "lmm.MockOptions",
    "lmm.MockServer" },
  { name = "log", title = "The log", "lmm.Log", "lmm.Exchange", "lmm.LoggedExchange", "lmm.LoggedMedium",
    "lmm.LoggedChat", "lmm.LogOptions", "lmm.LogFilter", "lmm.LogKeyOptions", "lmm.PruneOptions" },
  { name = "neovim", title = "The Neovim plugin", "lmm.nvim" },
}

--- What a value of a class is called in examples, where that is not the class's own name in small letters.
local CALLED = { lmm = "lmm", ["lmm.Conversation"] = "chat", ["lmm.nvim"] = "require(\"lmm.nvim\")" }

--- What stands before the name of a function.
---@param fn Function
---@return string
function M.owner(fn)
  return (CALLED[fn.class] or fn.class:match "[^.]+$":lower()) .. (fn.is_method and ":" or ".")
end

--- The functions of a class that are for everybody, those of its own file first.
---@param class Class
---@return Function[]
function M.functions(class)
  local own, others, file = {}, {}, class.place:match "^[^:]+"
  for _, fn in ipairs(class.functions) do
    if not fn.scope and not fn.name:find "^__" then
      table.insert(not fn.is_late and fn.place:match "^[^:]+" == file and own or others, fn)
    end
  end
  for _, fn in ipairs(others) do own[#own + 1] = fn end
  return own
end

--- What a function gives, but for what only a `for` loop needs.
---@param fn Function
---@return Item[]
function M.returns(fn)
  local second = fn.returns[2]
  return second and second.type == "nil" and not second.name and { fn.returns[1] } or fn.returns
end

--- The fields of a class that are for everybody, without those that are methods with words of their own.
---@param class Class
---@return Item[]
function M.fields(class)
  local described, fields = {}, {}
  for _, fn in ipairs(class.functions) do described[fn.name] = true end
  for _, field in ipairs(class.fields) do
    if not field.scope and not described[field.name] then fields[#fields + 1] = field end
  end
  return fields
end

--- The names of classes in all that a class says of its types.
local function mentioned(class)
  local types = { class.type or "", table.concat(class.parents, " ") }
  for _, field in ipairs(M.fields(class)) do types[#types + 1] = field.type end
  for _, fn in ipairs(M.functions(class)) do
    for _, list in ipairs { fn.params, fn.returns } do
      for _, item in ipairs(list) do types[#types + 1] = item.type end
    end
  end
  return table.concat(types, " "):gmatch "lmm%.[%w_]+"
end

--- Puts each public class on a page.
---@param classes table<string, Class>
---@return { name: string, title: string, classes: Class[] }[] pages
---@return table<string, string> page_of  the name of the page of each class, and of each function of `lmm`
function M.arrange(classes)
  local pages, page_of = {}, {}
  for i, about in ipairs(M.PAGES) do
    pages[i] = { name = about.name, title = about.title, classes = {} }
    for _, name in ipairs(about) do
      assert(classes[name], "no annotation describes " .. name)
      page_of[name] = about.name
      table.insert(pages[i].classes, classes[name])
    end
  end
  for i = 2, #pages + 1 do -- the first page mentions everything
    local page = pages[i] or pages[1]
    for _, class in ipairs(page.classes) do -- which grows meanwhile
      for name in mentioned(class) do
        if classes[name] and not page_of[name] then
          page_of[name] = page.name
          table.insert(page.classes, classes[name])
        end
      end
    end
  end
  for _, fn in ipairs(M.functions(classes.lmm)) do page_of["lmm." .. fn.name] = "lmm" end
  return pages, page_of
end

return M
