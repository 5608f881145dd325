import MediaPipeTasksVision
import UIKit

/// One class that a photo may show; `probability` is in 0...1.
struct Answer: Sendable {
  let label: String
  let probability: Float
}

/// Says what a photo shows. The model file knows its own preprocessing and labels.
///
/// An actor: callers may come from any task, and one photo is classified at a time, off the main
/// thread. Opening takes a moment, so make one and keep it.
actor PhotoClassifier {
  private let classifier: ImageClassifier

  /// - Throws: the model is not in the app's bundle, or is no model of this library.
  init(maxResults: Int = 3) throws {
    let file = Self.model as NSString
    let path = Bundle.main.path(
      forResource: file.deletingPathExtension, ofType: file.pathExtension)
    guard let path else {
      throw CocoaError(.fileNoSuchFile, userInfo: [NSFilePathErrorKey: Self.model])
    }
    let options = ImageClassifierOptions()
    options.baseOptions.modelAssetPath = path
    options.runningMode = .image
    options.maxResults = maxResults
    classifier = try ImageClassifier(options: options)
  }

  /// The most probable classes, best first.
  ///
  /// A photo of the library or the camera may lie on its side; `MPImage` reads how to turn it from
  /// `imageOrientation`.
  func classify(_ photo: UIImage) throws -> [Answer] {
    let image = try MPImage(uiImage: photo)
    let middle = CGRect(x: 0, y: 0, width: 1, height: 1).insetBy(dx: Self.edge, dy: Self.edge)
    let result = try classifier.classify(image: image, regionOfInterest: middle)
    let categories = result.classificationResult.classifications.first?.categories ?? []
    return categories.map { Answer(label: $0.categoryName ?? "", probability: $0.score) }
  }

  /// In the app's target, under "Copy Bundle Resources".
  private static let model = "__MODEL_FILE__"

  /// Share of each side of a photo that the model was trained without, at either end.
  private static let edge: CGFloat = __EDGE__
}
