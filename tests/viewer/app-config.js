// OHIF as it comes, with one data source: the DICOMweb of the archive behind the same address.
window.config = {
  extensions: [],
  modes: [],
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showCPUFallbackMessage: false, // the tests' browser has no graphics card
  investigationalUseDialog: { option: 'never' },
  // without the guided tour of a first visit, and the player of moving pictures that lies over the
  // image until a reader closes it
  customizationService: [{ 'ohif.tours': { $set: [] }, autoCineModalities: { $set: [] } }],
  defaultDataSourceName: 'archive',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'archive',
      configuration: {
        friendlyName: 'Orthanc',
        name: 'archive',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        qidoSupportsIncludeField: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
