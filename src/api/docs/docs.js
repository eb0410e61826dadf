'use strict';
// Renders /api/openapi.json. Text goes in as text, never as markup. The key lives in its field and nowhere else.
(() => {
  // What stands before /docs and /api, behind a proxy that gives the server a place of its own.
  const BASE = location.pathname.replace(/\/docs\/?$/, '');
  const $ = (id) => document.getElementById(id);
  const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

  /** An element with attributes, listeners (onclick: f) and children. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else if (value === true) node.setAttribute(name, '');
      else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children.flat().filter((child) => child != null));
    return node;
  }

  /** `code` within a text. */
  function prose(text) {
    return (text || '').split('`').map((part, n) => (n % 2 ? el('code', {}, part) : part));
  }

  /** Paragraphs and lists: all that the specification's own text has. */
  function blocks(text) {
    const found = [];
    let list = null;
    for (const block of (text || '').split(/\n(?=- )|\n\n/)) {
      const flat = block.replace(/\s*\n\s*/g, ' ').trim();
      if (flat.startsWith('- ')) {
        if (!list) found.push((list = el('ul')));
        list.append(el('li', {}, ...prose(flat.slice(2))));
      } else if (flat) {
        list = null;
        found.push(el('p', {}, ...prose(flat)));
      }
    }
    return found;
  }

  function theme() {
    const root = document.documentElement;
    const system = matchMedia('(prefers-color-scheme: dark)');
    let chosen = null;
    const apply = () => { root.dataset.theme = chosen ?? (system.matches ? 'dark' : 'light'); };
    system.addEventListener('change', apply);
    $('theme').addEventListener('click', () => {
      chosen = root.dataset.theme === 'dark' ? 'light' : 'dark';
      apply();
    });
    apply();
  }

  let spec = null;

  function resolved(thing) {
    let found = thing;
    for (let hops = 0; found && found.$ref && hops < 9; hops += 1) {
      const target = found.$ref.slice(2).split('/').reduce((at, key) => at?.[key.replace(/~1/g, '/').replace(/~0/g, '~')], spec);
      const { $ref, ...beside } = found;
      found = { ...target, ...beside };
    }
    return found || {};
  }

  const nameOf = (schema) => (schema?.$ref ? schema.$ref.split('/').pop() : null);
  const isNull = (schema) => schema.type === 'null';

  /** Without the `or null` around it. */
  function present(schema) {
    const either = schema.oneOf || schema.anyOf;
    const real = either?.filter((one) => !isNull(one));
    return real?.length === 1 ? { ...real[0], nullable: true } : schema;
  }

  /** A type in words. */
  function typeOf(schema) {
    const inner = present(schema || {});
    const plain = resolved(inner);
    const types = [plain.type].flat().filter(Boolean);
    const or = (words) => words.filter(Boolean).join(' or ');
    const none = inner.nullable || types.includes('null') ? 'null' : '';
    const either = !plain.properties && (plain.oneOf || plain.anyOf);
    if (either) return or([...either.filter((one) => !isNull(one)).map(typeOf), either.some(isNull) ? 'null' : none]);
    if (plain.enum) return or([plain.enum.filter((word) => word !== null).map((word) => JSON.stringify(word)).join(' | '), none]);
    if (types.includes('array')) return or([`list of ${typeOf(plain.items)}`, none]);
    const real = types.filter((type) => type !== 'null');
    if (plain.allOf || real.includes('object')) return or([nameOf(inner) || 'object', none]);
    if (!real.length) return or(['any JSON', none]);
    const format = { 'date-time': 'time', uuid: 'UUID', 'taskrunnerx-duration': 'duration' }[plain.format];
    return or([...real.map((type) => (type === 'string' && format) || (type === 'integer' ? 'whole number' : type)), none]);
  }

  function limitsOf(schema) {
    const plain = resolved(present(schema || {}));
    const said = [];
    const range = (least, most, what) => {
      if (least != null && most != null) said.push(`${least} to ${most}${what}`);
      else if (most != null) said.push(`at most ${most}${what}`);
      else if (least != null && least !== 0) said.push(`at least ${least}${what}`);
    };
    if (plain.format !== 'taskrunnerx-duration') {
      range(plain.minimum, plain.maximum, '');
      range(plain.minLength, plain.maxLength, ' characters');
    }
    range(plain.minItems, plain.maxItems, ' items');
    return said.join(', ');
  }

  /** The fields of an object, of the parts of one, or of a list's items. */
  function fieldsOf(schema) {
    const plain = resolved(present(schema || {}));
    // Beside properties, allOf and its like are rules, which the descriptions tell in words.
    if (plain.allOf && !plain.properties) {
      const parts = plain.allOf.map(fieldsOf).filter(Boolean);
      return { properties: Object.assign({}, ...parts.map((part) => part.properties)), required: parts.flatMap((part) => part.required) };
    }
    const either = plain.properties ? null : plain.anyOf || plain.oneOf;
    const object = either?.map(resolved).find((one) => one.properties);
    if (object) return fieldsOf(object);
    if ([plain.type].flat().includes('array')) return fieldsOf(plain.items);
    return plain.properties && Object.keys(plain.properties).length
      ? { properties: plain.properties, required: plain.required || [] } : null;
  }

  /** Something that is made when it is opened for the first time. */
  function opened(summary, make, attributes = {}) {
    const details = el('details', attributes, el('summary', {}, ...[summary].flat()));
    const fill = () => { if (details.open && make) { details.append(...[make()].flat()); make = null; } };
    details.addEventListener('toggle', fill);
    details.fill = fill;
    return details;
  }

  function fieldList(schema, answer) {
    const { properties, required } = fieldsOf(schema);
    return el('ul', { class: 'fields' }, Object.entries(properties).map(([name, field]) => {
      const limits = limitsOf(field);
      const must = !answer && required.includes(name);
      const about = present(field).description || resolved(present(field)).description;
      return el('li', {},
        el('code', { class: 'name' }, name),
        el('span', { class: 'type' }, (answer ? typeOf(field) : typeOf(field).replace(/ or null$/, '')) + (limits ? `, ${limits}` : '')),
        must ? el('span', { class: 'must' }, 'required') : null,
        about ? el('p', {}, ...prose(about)) : null,
        fieldsOf(field) ? opened('its fields', () => fieldList(field, answer), { class: 'inner' }) : null);
    }));
  }

  /** A value with its keys in the order of its schema: JSON objects in the specification have theirs sorted. */
  function ordered(value, schema) {
    if (Array.isArray(value)) {
      const items = resolved(present(schema || {})).items;
      return value.map((item) => ordered(item, items));
    }
    if (!value || typeof value !== 'object') return value;
    const known = fieldsOf(schema)?.properties || {};
    const keys = [...Object.keys(known).filter((key) => key in value), ...Object.keys(value).filter((key) => !(key in known))];
    return Object.fromEntries(keys.map((key) => [key, ordered(value[key], known[key])]));
  }

  const json = (value) => JSON.stringify(value, null, 2);

  function sample(text, label) {
    const pre = el('pre', { tabindex: '0', 'aria-label': label }, text);
    const button = el('button', { type: 'button', onclick: async () => {
      try {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = 'copied';
      } catch {
        getSelection().selectAllChildren(pre);
        button.textContent = 'selected';
      }
      setTimeout(() => { button.textContent = 'copy'; }, 1500);
    } }, 'copy');
    const box = el('div', { class: 'sample' }, pre, button);
    box.say = (words) => { pre.textContent = words; };
    return box;
  }

  function contentParts(content, answer) {
    return Object.entries(content || {}).flatMap(([type, { schema, example }]) => [
      el('p', { class: 'none' }, type),
      schema && fieldsOf(schema) ? fieldList(schema, answer) : null,
      example === undefined ? null
        : sample(typeof example === 'string' ? example : json(ordered(example, schema)), 'Example'),
    ]);
  }

  function parameterList(parameters) {
    return el('ul', { class: 'fields' }, parameters.map((parameter) => {
      const limits = limitsOf(parameter.schema);
      return el('li', {},
        el('code', { class: 'name' }, parameter.name),
        el('span', { class: 'type' }, `${parameter.in}, ${typeOf(parameter.schema)}${limits ? `, ${limits}` : ''}`),
        parameter.required ? el('span', { class: 'must' }, 'required') : null,
        parameter.description ? el('p', {}, ...prose(parameter.description)) : null);
    }));
  }

  function answerList(responses) {
    return el('ul', { class: 'answers' }, Object.entries(responses).map(([status, response]) => {
      const { description, content, headers, links } = resolved(response);
      const line = [el('span', { class: `status ${status < '4' ? 'good' : 'bad'}` }, status), ...prose(description)];
      const names = Object.entries(headers || {});
      return el('li', {}, opened(line, () => [
        ...contentParts(content, true),
        names.length ? el('ul', { class: 'fields' }, names.map(([name, header]) => el('li', {},
          el('code', { class: 'name' }, name), el('span', { class: 'type' }, 'header'),
          el('p', {}, ...prose(resolved(header).description))))) : null,
        links ? el('p', {}, 'Leads to ', ...Object.values(links).flatMap((link, n) =>
          [n ? ', ' : '', el('a', { href: `#${link.operationId}` }, link.operationId)]), '.') : null,
      ].filter(Boolean)));
    }));
  }

  const quoted = (text) => `'${text.replace(/'/g, `'\\''`)}'`;

  /** The form that sends the call, and the command that does the same. */
  function trial(call) {
    const { path, method, operation, parameters } = call;
    const inputs = new Map();
    const field = (parameter) => {
      const plain = resolved(parameter.schema);
      const input = plain.enum
        ? el('select', {}, el('option', { value: '' }, ''), plain.enum.map((word) => el('option', {}, word)))
        : el('input', { autocomplete: 'off', spellcheck: 'false', placeholder: `${parameter.in}, ${typeOf(parameter.schema)}`, required: parameter.required });
      inputs.set(parameter, input);
      return el('label', {}, el('code', {}, parameter.name), input);
    };
    const body = operation.requestBody?.content?.['application/json'];
    const filled = body ? json(ordered(body.example ?? {}, body.schema)) : '';
    const rows = Math.min(filled.split('\n').length + 1, 24);
    const text = body ? el('textarea', { spellcheck: 'false', rows }, filled) : null;
    const curl = sample('', 'The same with curl');
    const asked = () => {
      let url = BASE + path;
      const query = [], headers = {};
      for (const [parameter, input] of inputs) {
        const value = input.value.trim();
        if (parameter.in === 'path') url = url.replace(`{${parameter.name}}`, value ? encodeURIComponent(value) : `{${parameter.name}}`);
        else if (value && parameter.in === 'query') query.push(`${parameter.name}=${encodeURIComponent(value).replace(/%2C/g, ',').replace(/%3A/g, ':')}`);
        else if (value && parameter.in === 'header') headers[parameter.name] = value;
      }
      return { url: query.length ? `${url}?${query.join('&')}` : url, headers, body: text?.value.trim() || null };
    };
    const command = () => {
      const { url, headers, body: sent } = asked();
      const lines = [`curl${operation.responses['200']?.content?.['text/event-stream'] ? ' -N' : ''}${method === 'get' ? '' : ` -X ${method.toUpperCase()}`} ${quoted(location.origin + url)}`];
      if (operation.security?.length && $('key').value) lines.push('-H "Authorization: Bearer $TASKRUNNERX_API_KEY"');
      for (const [name, value] of Object.entries(headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
      if (sent) lines.push(`-H 'content-type: application/json'`, `--data-raw ${quoted(sent)}`);
      curl.say(lines.join(' \\\n  '));
    };
    const said = el('span', { role: 'status' });
    const answer = el('pre', { hidden: true, tabindex: '0', 'aria-label': 'The answer' });
    const stop = el('button', { type: 'button', hidden: true }, 'Stop');
    const shown = { said, answer, stop, by: null };
    const form = el('form', { class: 'try', oninput: command, onsubmit: (event) => {
      event.preventDefault();
      send(asked(), method, operation, shown);
    } },
      parameters.map(field),
      text ? el('label', { class: 'wide' }, 'Body', text) : null,
      el('div', { class: 'row' }, el('button', { class: 'send' }, 'Send'), stop, said), answer);
    $('key').addEventListener('input', command);
    command();
    return [el('h3', {}, 'With curl'), curl, el('h3', {}, 'Try it'), form];
  }

  /** Sends, and shows what comes. Where it was sent again meanwhile, the later one has the place: this one shows no more. */
  async function send({ url, headers, body }, method, operation, shown) {
    const { said, answer, stop } = shown;
    const ended = new AbortController();
    shown.by?.abort();
    shown.by = ended;
    const mine = () => shown.by === ended;
    stop.onclick = () => ended.abort();
    const key = $('key').value.trim();
    if (key && operation.security?.length) headers.Authorization = `Bearer ${key}`;
    if (body) headers['content-type'] = 'application/json';
    said.className = '';
    said.textContent = 'sent…';
    stop.hidden = false;
    answer.hidden = true;
    const began = performance.now();
    try {
      const response = await fetch(url, { method: method.toUpperCase(), headers, body, signal: ended.signal, cache: 'no-store', credentials: 'omit' });
      if (!mine()) return;
      const took = Math.round(performance.now() - began);
      said.className = response.ok ? '' : 'fault';
      said.textContent = `${response.status} ${response.statusText} after ${took} ms`;
      const head = [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n');
      answer.textContent = `${head}\n\n`;
      answer.hidden = false;
      await show(response, answer, mine);
    } catch (error) {
      if (!mine()) return;
      const why = error.name === 'AbortError' ? 'stopped' : `not sent, or no answer: ${error.message}`;
      said.textContent = answer.hidden ? why : `${said.textContent}; ${why}`;
    }
    if (mine()) stop.hidden = true;
  }

  /** A stream as it comes, JSON indented (its numbers as they were sent), anything else as it is. */
  async function show(response, into, mine) {
    if ((response.headers.get('content-type') || '').startsWith('text/event-stream')) {
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece = await reader.read(); !piece.done && mine(); piece = await reader.read()) {
        into.append(piece.value);
        into.scrollTop = into.scrollHeight;
      }
      return;
    }
    const text = await response.text();
    if (mine()) into.append(/json/.test(response.headers.get('content-type')) ? indented(text) : text);
  }

  /** JSON with line breaks, token by token: parsed and printed again, large numbers would be others. */
  function indented(text) {
    let depth = 0;
    const line = () => `\n${'  '.repeat(Math.max(depth, 0))}`;
    const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) || [];
    return tokens.map((token, n) => {
      if (token === '{' || token === '[') {
        if (tokens[n + 1] === '}' || tokens[n + 1] === ']') return token;
        depth += 1;
        return token + line();
      }
      if (token === '}' || token === ']') {
        if (tokens[n - 1] === '{' || tokens[n - 1] === '[') return token;
        depth -= 1;
        return line() + token;
      }
      if (token === ',') return token + line();
      return token === ':' ? ': ' : token;
    }).join('');
  }

  function callBody(call) {
    const { operation, parameters, head } = call;
    const body = operation.requestBody;
    return el('div', { class: 'body' },
      operation.description ? blocks(operation.description) : null,
      head ? el('p', { class: 'none' }, 'HEAD gives the same without the body.') : null,
      parameters.length ? [el('h3', {}, 'Parameters'), parameterList(parameters)] : null,
      body ? [el('h3', {}, body.required ? 'Body' : 'Body (may be left out)'), ...contentParts(body.content, false)] : null,
      el('h3', {}, 'Answers'), answerList(operation.responses),
      trial(call));
  }

  const scopeOf = (operation) => operation['x-required-scope']
    || (operation.security?.length ? 'open, or any key' : 'open');

  function render() {
    $('version').textContent = spec.info.version;
    const calls = Object.entries(spec.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => ({
      path, method, operation: item[method], head: method === 'get' && item.head,
      parameters: (item[method].parameters || []).map(resolved),
    })));
    $('loading').remove();
    $('main').append(el('section', { id: 'about' }, el('h2', {}, 'The API'), blocks(spec.info.description),
      el('p', {}, 'All of this as OpenAPI 3.1: ', el('a', { href: `${BASE}/api/openapi.json` }, `${BASE}/api/openapi.json`), '.')));
    for (const tag of spec.tags) {
      const own = calls.filter((call) => call.operation.tags.includes(tag.name));
      const section = el('section', {}, el('h2', {}, tag.name), el('p', {}, ...prose(tag.description)));
      const list = el('ul');
      for (const call of own) {
        const { method, path, operation } = call;
        const badge = () => el('span', { class: `method ${method}` }, method.toUpperCase());
        call.box = opened([badge(), el('span', { class: 'path' }, path), el('span', { class: 'title' }, operation.summary),
          el('span', { class: 'scope', title: 'the scope that a key needs' }, scopeOf(operation))],
          () => callBody(call), { class: 'call', id: operation.operationId });
        call.link = el('li', {}, el('a', { href: `#${operation.operationId}` }, badge(), operation.summary));
        call.words = `${method} ${path} ${operation.summary} ${operation.operationId} ${tag.name}`.toLowerCase();
        section.append(call.box);
        list.append(call.link);
      }
      const group = el('div', {}, el('h2', {}, tag.name), list);
      $('main').append(section);
      $('list').append(group);
      for (const call of own) Object.assign(call, { section, group });
    }
    search(calls);
    addEventListener('hashchange', () => go(calls));
    // To where the address is already: that is no change of it.
    document.addEventListener('click', (event) => {
      const link = event.target.closest?.('a[href^="#"]');
      if (link && link.getAttribute('href') === location.hash) go(calls);
    });
    go(calls);
  }

  /** Opens the call that the address names. */
  function go(calls) {
    for (const call of calls) {
      const here = `#${call.operation.operationId}` === location.hash;
      const link = call.link.firstChild;
      if (here) link.setAttribute('aria-current', 'true'); else link.removeAttribute('aria-current');
      if (here) {
        call.box.open = true;
        call.box.fill();
        call.box.scrollIntoView();
        call.box.firstChild.focus({ preventScroll: true });
        if (matchMedia('(max-width: 56rem)').matches) $('calls').open = false;
      }
    }
  }

  function search(calls) {
    const field = $('search');
    field.addEventListener('input', () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const shown = new Set();
      for (const call of calls) {
        const fits = words.every((word) => call.words.includes(word));
        call.box.hidden = call.link.hidden = !fits;
        if (fits) shown.add(call.group);
      }
      for (const { group, section } of calls) group.hidden = section.hidden = !shown.has(group);
      $('about').hidden = words.length > 0;
    });
    field.addEventListener('keydown', (event) => {
      const first = calls.find((call) => !call.box.hidden);
      if (event.key === 'Enter' && first) first.link.firstChild.click();
      if (event.key === 'Escape') { field.value = ''; field.dispatchEvent(new Event('input')); }
    });
    document.addEventListener('keydown', (event) => {
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName);
      if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        event.preventDefault();
        field.focus();
      }
    });
  }

  async function start() {
    theme();
    $('key-form').addEventListener('submit', (event) => event.preventDefault());
    if (matchMedia('(max-width: 56rem)').matches) $('calls').open = false;
    $('loading').textContent = 'Reading /api/openapi.json …';
    try {
      const response = await fetch(`${BASE}/api/openapi.json`, { credentials: 'omit' });
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      spec = await response.json();
    } catch (error) {
      $('loading').textContent = `/api/openapi.json could not be read: ${error.message}. Reload to try again.`;
      return;
    }
    render();
  }

  start();
})();
