// Sends C-ECHO, then C-STORE of the files named, over one association that also asks for
// asynchronous operations and for a confirmed user name. Prints one line of JSON.
const dcmjsDimse = require('dcmjs-dimse');

dcmjsDimse.log.setLevel('silent');

const [host, port, called, ...files] = process.argv.slice(2);
const result = { statuses: [], closed: false, error: null };
const client = new dcmjsDimse.Client();
const { CEchoRequest, CStoreRequest } = dcmjsDimse.requests;

for (const request of [new CEchoRequest(), ...files.map((file) => new CStoreRequest(file))]) {
  request.on('response', (response) => result.statuses.push(response.getStatus()));
  client.addRequest(request);
}
client.on('associationAccepted', (association) => {
  result.contexts = association.getPresentationContexts().map(({ context }) => context.getResult());
});
client.on('associationReleased', () => { result.released = true; });
client.on('networkError', (error) => { result.error = String(error); });
client.on('closed', () => {
  result.closed = true;
  console.log(JSON.stringify(result));
});
client.send(host, Number(port), 'DCMJS', called, {
  asyncOps: { maxAsyncOpsInvoked: 4, maxAsyncOpsPerformed: 4 },
  userIdentity: { type: 1, positiveResponseRequested: true, primaryField: 'technician' },
});
