-- Annotations, functions, guides and reference say the same: what the library takes is annotated, what is annotated is
-- there, a guide has a word on it, and what is made from the annotations is up to date.
local annotations = require "doc.script.annotations"
local guides = require "spec.support.guides"
local lmm = require "lmm"
local nvim = require "spec.support.nvim"
local pages_of = require "doc.script.pages"
local shell = require "spec.support.shell"

local quote = shell.quote
local classes = annotations.library()
local pages = pages_of.arrange(classes)

local client = lmm.connect "http://127.0.0.1:9/v1"
local chat = client:conversation()
local function nothing() end

--- A value of each class that has functions.
local values = {
  lmm = lmm, ["lmm.Client"] = client, ["lmm.Conversation"] = chat, ["lmm.Stream"] = chat:stream "Hello",
  ["lmm.Events"] = client:events("POST", "completions", {}), ["lmm.Part"] = lmm.image "examples/picture.jpg",
}

--- The names of a class's fields, those of its parents too.
local function field_names(name, into)
  into = into or {}
  for _, field in ipairs(classes[name].fields) do
    if not field.name:find "^%[" then into[field.name] = true end
  end
  for _, parent in ipairs(classes[name].parents) do field_names(parent, into) end
  return into
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

describe("annotations", function()
  for _, page in ipairs(pages) do
    for _, class in ipairs(page.classes) do
      for _, fn in ipairs(pages_of.functions(class)) do
        it("describe " .. pages_of.owner(fn) .. fn.name, function()
          assert(fn.words:find "%S", fn.place .. " has no words")
          local described, named = {}, {}
          for _, param in ipairs(fn.params) do described[param.name] = true end
          for _, param in ipairs(fn.names) do named[param] = param ~= "..." or described["..."] or nil end
          assert.same(sorted(named), sorted(described))
          local value = values[class.name]
          if value then assert.equal("function", type(value[fn.name])) end
        end)
      end
    end
  end

  it("describe each function of the module", function()
    local described = { json = true, null = true, version = true }
    for _, fn in ipairs(pages_of.functions(classes.lmm)) do described[fn.name] = true end
    for name in pairs(lmm) do assert(described[name], "lmm." .. name .. " has no annotation") end
  end)

  it("tell of each method for whom it is", function()
    for name, value in pairs(values) do
      local known = {}
      for _, fn in ipairs(classes[name].functions) do known[fn.name] = true end
      local methods = name == "lmm.Part" and getmetatable(value).__index or getmetatable(value)
      for method, fn in pairs(name == "lmm" and {} or methods) do
        local is_method = type(fn) == "function" and not method:find "^__"
        assert(not is_method or known[method], name .. ":" .. method .. " is not known")
      end
    end
  end)

  it("name classes that there are", function()
    for _, page in ipairs(pages) do
      for _, class in ipairs(page.classes) do
        for _, parent in ipairs(class.parents) do assert(classes[parent], class.place .. ": no class " .. parent) end
        for _, field in ipairs(class.fields) do
          for of in field.type:gmatch "lmm%.%u[%w_]*" do assert(classes[of], class.place .. ": no class " .. of) end
        end
      end
    end
  end)
end)

local NO_OPTION = "no such option"

--- The options that a function says that there are.
local function taken(ask)
  local ok, raised = pcall(ask, { [NO_OPTION] = 1 })
  assert(not ok, "an unknown option is taken")
  local names = {}
  for name in tostring(raised):match "%(there are: ([^)]*)%)":gmatch "[%w_]+" do names[name] = true end
  return names
end

local PROBES = {
  ["lmm.ConnectOptions"] = lmm.connect,
  ["lmm.PoolEntry"] = function(opts) lmm.connect { base_url = { opts } } end,
  ["lmm.Timeouts"] = function(opts) lmm.connect { timeout = opts } end,
  ["lmm.TlsOptions"] = function(opts) lmm.connect { tls = opts } end,
  ["lmm.Limits"] = function(opts) lmm.connect { limits = opts } end,
  ["lmm.Price"] = function(opts) lmm.connect { prices = { model = opts } } end,
  ["lmm.RetryOptions"] = lmm.retry,
  ["lmm.CallOptions"] = function(opts) client:models(opts) end,
  ["lmm.RequestOptions"] = function(opts) client:chat({ messages = {} }, opts) end,
  ["lmm.WaitOptions"] = function(opts) client:wait_ready(opts) end,
  ["lmm.ToolRules"] = function(opts) require("lmm.conversation.rounds").check(opts) end,
  ["lmm.Tool"] = function(opts) chat:tool(opts, nothing) end,
  ["lmm.TrimOptions"] = function(opts) chat:trim(opts) end,
  ["lmm.SaveOptions"] = function(opts) chat:save("chat.json", opts) end,
  ["lmm.ExportOptions"] = function(opts) chat:export("markdown", opts) end,
  ["lmm.GatherOptions"] = function(opts) lmm.gather({}, opts) end,
  ["lmm.MapOptions"] = function(opts) lmm.map({}, nothing, opts) end,
  ["lmm.ServeOptions"] = lmm.serve,
  ["lmm.MockOptions"] = lmm.mock,
}

describe("each option is annotated:", function()
  for name, ask in pairs(PROBES) do
    it(name, function() assert.same(sorted(taken(ask)), sorted(field_names(name))) end)
  end

  it("what prepares media", function()
    local of = { ["lmm.ImageOptions"] = require("lmm.prepare.pictures").rows,
      ["lmm.VideoOptions"] = require("lmm.prepare.ffmpeg").film.rows,
      ["lmm.AudioOptions"] = require("lmm.prepare.ffmpeg").sound.rows }
    for name, rows in pairs(of) do
      local fields = field_names(name)
      for option in pairs(rows) do assert(fields[option], name .. " has no " .. option) end
    end
  end)
end)

describe("the guides", function()
  local texts = {}
  for _, path in ipairs(guides.files()) do texts[#texts + 1] = shell.read(path) end
  local text = table.concat(texts, "\n")

  --- Whether a name stands there as a whole word.
  local function has(name)
    return text:find("%f[%w_]" .. name:gsub("%p", "%%%0") .. "%f[^%w_]") ~= nil
  end

  it("have a word on each function", function()
    local missing = {}
    for _, page in ipairs(pages) do
      for _, class in ipairs(page.classes) do
        for _, fn in ipairs(pages_of.functions(class)) do
          local name = (fn.class == "lmm" and "lmm." or "") .. fn.name
          if class.name ~= "lmm.nvim" and not has(name) then missing[#missing + 1] = pages_of.owner(fn) .. fn.name end
        end
      end
    end
    assert.same({}, missing)
  end)

  it("have a word on each option", function()
    local missing = {}
    for name in pairs(PROBES) do
      for option in pairs(field_names(name)) do
        if not has(option) then missing[#missing + 1] = name .. "." .. option end
      end
    end
    table.sort(missing)
    assert.same({}, missing)
  end)

  it("tell of each kind of error", function()
    local told = guides.anchors "doc/errors.md"
    for _, field in ipairs(classes["lmm.Error"].fields) do
      for kind in (field.name == "kind" and field.type or ""):gmatch "%l+" do assert(told[kind], kind) end
    end
  end)

  it("tell of each fault of the built-in server", function()
    local _, problem = require("lmm.mock.faults").read { mock = { [NO_OPTION] = 1 } }
    local guide = shell.read "doc/mock.md"
    for name in problem.message:match "%(there are: ([^)]*)%)":gmatch "[%w_]+" do
      assert(guide:find("`" .. name .. "`", 1, true), name)
    end
  end)

  it("have a word on each command", function()
    local help = shell.output(quote(arg[-1]) .. " bin/lmm help")
    for name in help:match "\nCommands:\n(.-)\n\n":gmatch "\n   (%l+)" do
      assert(text:find("lmm " .. name .. "%f[%W]"), "lmm " .. name)
    end
  end)
end)

describe("what is made", function()
  local folder = shell.output "mktemp -d":match "^[^\n]+"
  teardown(function() os.execute("rm -rf " .. quote(folder)) end)

  it("is up to date (make docs)", function()
    shell.run("%s doc/script/make.lua %s", quote(arg[-1]), quote(folder))
    assert.equal("", shell.output(("cd doc && diff -r reference %s/doc/reference && diff lmm.txt %s/doc && "
      .. "diff servers.md %s/doc"):format(quote(folder), quote(folder), quote(folder))))
  end)

  it("leads somewhere by each link", function()
    for path in shell.output "ls doc/reference/*.md":gmatch "[^\n]+" do
      for _, target in ipairs(guides.links(path)) do
        local file, anchor = target:match "^([^#]*)#?(.*)$"
        file = file == "" and path or "doc/reference/" .. file
        assert(anchor == "" or guides.anchors(file)[anchor], path .. " leads to " .. target .. ", which is not there")
      end
    end
  end)

  for _, editor in ipairs(nvim.editors()) do
    it("is a help, each tag of which is found (" .. editor.name .. ")", function()
      if not editor.program then pending "it is not there" end
      shell.run("mkdir -p %s/help/doc && cp doc/lmm.txt %s/help/doc", quote(folder), quote(folder))
      local script = shell.write(folder .. "/tags.lua", (([[
        vim.cmd("set runtimepath^=FOLDER/help | helptags FOLDER/help/doc")
        local count = 0
        for line in io.lines("FOLDER/help/doc/tags") do
          local tag = line:match "^[^\t]+"
          local ok, message = pcall(vim.cmd, "help " .. tag)
          if not ok then print("no help for " .. tag .. ": " .. message) end
          count = count + 1
        end
        for _, found in ipairs(vim.fn.getbufline("lmm.txt", 1, "$")) do
          for tag in found:gmatch "|([^|%s]+)|" do
            if not pcall(vim.cmd, "help " .. tag) then print("a link to " .. tag .. ", which is not there") end
          end
        end
        io.stderr:write("tags: " .. count)
      ]]):gsub("FOLDER", (folder:gsub("%%", "%%%%")))))
      local said = shell.output(("%s --headless -n -i NONE -u NONE -c 'luafile %s' -c 'qa!' 2>&1"):format(
        quote(editor.program), script))
      assert.matches("^tags: %d%d%d$", said)
    end)
  end
end)
