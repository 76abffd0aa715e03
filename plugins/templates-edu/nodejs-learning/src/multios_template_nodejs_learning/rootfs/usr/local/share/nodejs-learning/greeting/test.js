const assert = require('assert')
const greeting = require('./index.js')

assert.strictEqual(greeting('Ada'), 'Hello, Ada!')
console.log('all is well')
